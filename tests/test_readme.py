"""The examples of the README and of the documentation run as they stand."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = ("README.md", "docs/estimators.md")
EXAMPLES = {
    f"{page}-{place}": example
    for page in PAGES
    for place, example in enumerate(
        re.findall(r"```python\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)
    )
}


def test_there_are_examples():
    assert len(EXAMPLES) == 3


@pytest.mark.parametrize("page", EXAMPLES)
@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_an_example_runs(page, capsys):
    exec(compile(EXAMPLES[page], page, "exec"), {})
    told = capsys.readouterr().out.splitlines()
    if page.startswith("README"):
        assert all(float(line.split()[-1]) > 0.3 for line in told)
    else:
        assert float(told[0].split()[0]) > 0.95
        assert told[1] == "(1, 64) (1, 10, 64)"
