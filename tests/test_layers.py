"""Import order is reading order: a room may import only rooms above it."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

import pullback

ROOT = Path(pullback.__file__).parent

# A row may import the rows before it, and itself where it is a folder.
ORDER = [
    "errors", "extras", "jsontext", "files", "programs", "memory", "tree", "arithmetic", "record",
    "data", "initializer", "maps", "loss", "penalty", "closed_form", "curvature", "surfaces",
    "symmetry", "optim", "early_stopping", "augment", "tangent", "check", "catalogue", "tensors",
    "sealed", "checkpoint", "train", "peers", "runs", "examine", "config", "dealt", "prepared",
    "model", "estimators", "export", "tune", "experiment", "sweep", "retrain", "paths", "diagnose",
    "study", "report", "serve", "cli",
]  # fmt: skip


def room(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def imports(path: Path):
    """The rooms that a file imports, wherever in the file."""
    package = ["pullback", *path.relative_to(ROOT).parent.parts]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            full = [*base, *(node.module or "").split(".")] if node.module else base
            if full[:1] == ["pullback"]:
                yield from ([full[1]] if len(full) > 1 else [alias.name for alias in node.names])
        elif isinstance(node, ast.Import):
            yield from (a.name.split(".")[1] for a in node.names if a.name.startswith("pullback."))


FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_imports_only_rooms_above_its_own(path):
    here = ORDER.index(room(path))
    for name in imports(path):
        if name != "__version__" and name != room(path):
            assert ORDER.index(name) < here, f"{room(path)} imports {name}"


def test_the_plan_names_every_room_and_no_other():
    assert set(ORDER) == {room(path) for path in FILES}
