"""The examples of the README run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", README.read_text("utf-8"), re.DOTALL)


def test_there_are_examples():
    assert len(EXAMPLES) == 2


@pytest.mark.parametrize("example", EXAMPLES, ids=["training", "peers"])
def test_an_example_runs(example, capsys):
    exec(compile(example, str(README), "exec"), {})
    if "print" in example:
        assert all(float(line.split()[-1]) > 0.3 for line in capsys.readouterr().out.splitlines())
