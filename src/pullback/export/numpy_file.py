"""A trained network as a file of Python that a reader can follow, and that needs NumPy alone.

Whatever is not written here but comes out of the model, such as the names of classes, goes into
the file as a literal by `ascii`, and the names of nodes also as comments without anything that
could end a line: a model cannot put code there.
"""

from __future__ import annotations

import inspect
import io
import keyword
import re
from collections.abc import Iterable

import numpy as np

from .. import __version__
from ..maps import Map
from ..model import Model
from ..tree import Tree
from . import numpy_parts
from .numpy_maps import Line, Source, line_of, link_of
from .steps import Shape, Step, columns_of, inputs_named, output_named, steps_of

CODE, WEIGHTS = "predict.py", "weights.npz"

# The functions of the file and of Python that it calls: no wire may be called so.
_TAKEN = frozenset(
    (
        *(name for name, _ in inspect.getmembers(numpy_parts, inspect.isfunction)),
        *("W", "np", "csv", "math", "sys", "Path", "float", "len", "CLASSES", "COLUMNS", "SHAPE"),
        *("prepare", "forward", "predict", "probabilities", "scores", "read", "main", "z"),
        *keyword.kwlist,
    )
)


def numpy_files(model: Model) -> dict[str, bytes]:
    """The bytes of `predict.py` and of `weights.npz`, which lie side by side.

    The file has `predict(x)` and, of classes, `probabilities(x)` or `scores(x)`; run as a command
    it prints predictions for a CSV or NPY file. A table with categories is encoded there, too.

    Raises:
        ConfigError: a map or the loss has no line of NumPy.
    """
    preparation = model.preparation
    forward, width, calls, arrays = forward_pass(
        model.task.net, model.params, model.state, [preparation.shape]
    )
    link = link_of(model.task.loss)
    standardizer = preparation.standardizer
    if standardizer is not None:
        arrays |= {"x/mean": standardizer.mean, "x/deviation": standardizer.deviation}
    called = {*calls, *link.calls}
    if preparation.encoder is not None:
        called.add("encode")
    functions = copied(called)
    parts = (
        _head(model, any("math." in code for code in functions)),
        *functions,
        _prepare(model),
        forward,
        _predict(model, link),
        _main(model, columns_of(model, width)),
    )
    code = "\n\n\n".join(part.strip("\n") for part in parts) + "\n"
    return {CODE: code.encode(), WEIGHTS: archive(arrays)}


def forward_pass(
    map: Map, params: Tree, state: Tree, shapes: Iterable[Shape]
) -> tuple[str, int, set[str], dict[str, np.ndarray]]:
    """Write the function `forward`: the maps of a network in evaluation, line by line.

    Args:
        map: the network, or any other map.
        params: its parameters.
        state: its state.
        shapes: of one example of each input.

    Returns:
        Its code, the length of the last axis of its output, the functions of `numpy_parts` that it
        calls, and the arrays that it finds in the dictionary `W`.

    Raises:
        ConfigError: a map has no line of NumPy.
    """
    shapes = list(shapes)
    inputs = inputs_named(len(shapes))
    names = dict(zip(inputs, inputs, strict=True))
    lines, calls, arrays = [], set(), {}
    steps = steps_of(map, params, state, shapes)
    for step in steps:
        line = line_of(Source(step, tuple(names[wire] for wire in step.reads), _indexed(step)))
        names[step.name] = _identifier(step.name, set(names.values()))
        lines += [f"# {_shown(step.name)}: {line.equation}", f"{names[step.name]} = {line.code}"]
        calls.update(line.calls)
        arrays |= {_full(step, name): array for name, array in step.held.items()}
    lines.append(f"return {names[steps[-1].name]}")
    body = "\n".join(f"    {line}" for line in lines)
    said = '"""The output of the network, map by map."""'
    code = f"def forward({', '.join(inputs)}):\n    {said}\n{body}\n"
    return code, steps[-1].shape[-1], calls, arrays


def copied(calls: Iterable[str]) -> list[str]:
    """The source of functions of `numpy_parts`, in the order in which they stand there."""
    named = [getattr(numpy_parts, name) for name in calls]
    return [inspect.getsource(f) for f in sorted(named, key=lambda f: f.__code__.co_firstlineno)]


def archive(arrays: dict[str, np.ndarray]) -> bytes:
    """Arrays by name as the bytes of an NPZ file."""
    held = io.BytesIO()
    np.savez(held, allow_pickle=False, **arrays)
    return held.getvalue()


def _indexed(step: Step):
    return lambda name: f"W[{_full(step, name)!a}]"


def _full(step: Step, name: str) -> str:
    return f"{step.owner}/{name}"


def _identifier(name: str, taken: set[str]) -> str:
    """A name of a variable that looks like this name and is free."""
    word = re.sub(r"\W", "_", name, flags=re.ASCII)
    word = word if re.match(r"[A-Za-z]", word) else f"y_{word}"
    free, count = word, 1
    while free in taken or free in _TAKEN:
        count += 1
        free = f"{word}_{count}"
    return free


def _shown(name: str) -> str:
    """A name within a comment: whatever could end the line is left out."""
    return "".join(letter if letter.isprintable() else "?" for letter in name)


def _head(model: Model, mathematics: bool) -> str:
    preparation = model.preparation
    functions = "predict(x)"
    constants = [f"SHAPE = {preparation.shape!r}  # of one row of x"]
    if preparation.classes is not None:
        functions += f" and {output_named(model)}(x)"
        constants.append(f"CLASSES = {list(preparation.classes)!a}")
    if preparation.encoder is not None:
        columns = {c.name: c.categories and list(c.categories) for c in preparation.encoder.columns}
        constants.append(
            "# The columns of a table in their order: categories, or None for numbers."
        )
        constants.append(f"COLUMNS = {columns!a}")
    imports = ["import math", "import sys"] if mathematics else ["import sys"]
    return f'''
"""A trained network, written out: NumPy alone computes it.

Written by Pullback {__version__} for its experiment {model.experiment.name!r}. The arrays lie in
{WEIGHTS}, beside this file.

    python {CODE} INPUT     prints what is predicted for each row of INPUT, a CSV or NPY file

From Python: {functions}.
"""

import csv
{chr(10).join(imports)}
from pathlib import Path

import numpy as np

{chr(10).join(constants)}
with np.load(Path(__file__).with_name({WEIGHTS!r}), allow_pickle=False) as held:
    W = {{name: held[name] for name in held.files}}
'''


def _prepare(model: Model) -> str:
    preparation = model.preparation
    dtype = f"np.{model.experiment.dtype.name}"
    said, code = f"Rows of x as the network takes them, {dtype}.", "x"
    if preparation.standardizer is not None:
        said = "Rows of x as the network takes them: u = (x − mean)/deviation, as in training."
        code = "((x - W['x/mean']) / W['x/deviation'])"
    return f'''
def prepare(x):
    """{said}"""
    x = np.asarray(x)
    if x.shape[1:] != SHAPE:
        raise ValueError(f"rows of shape {{SHAPE}} are wanted, got {{x.shape[1:]}}")
    return {code}.astype({dtype})
'''


def _predict(model: Model, link: Line) -> str:
    values = output_named(model)
    # Of numbers the values themselves are what is predicted.
    name = "predict" if values == "predictions" else values
    columns = "target" if values == "predictions" else "of CLASSES"
    both = ""
    if model.single:
        both = (
            "\n    # One output tells of two classes.\n    p = np.concatenate([1 - p, p], axis=-1)"
        )
    code = f'''
def {name}(x):
    """A row for each row of x, a column for each {columns}."""
    z = forward(prepare(x))
    # {link.equation}
    p = {link.code}{both}
    return p
'''
    if values == "predictions":
        return code
    return f'''{code}

def predict(x):
    """The class of each row of x: that with the greatest value."""
    return [CLASSES[i] for i in {values}(x).argmax(axis=1)]
'''


def _main(model: Model, columns: int) -> str:
    values = output_named(model)
    said = "numbers, without a header"
    code = '        return np.loadtxt(file, delimiter=",", ndmin=2).reshape(-1, *SHAPE)'
    if model.preparation.encoder is not None:
        said = "cells under a header"
        code = "        return encode(list(csv.DictReader(file)), COLUMNS)"
    header = [f"prediction {i}" for i in range(columns)] if columns > 1 else ["prediction"]
    computed, shown, rows = "p = predict(x)", f"{header!r}", "p.tolist()"
    if values != "predictions":
        kind = "probability" if values == "probabilities" else "score"
        shown = f'["prediction", *(f"{kind} of {{name}}" for name in CLASSES)]'
        computed = f"p = {values}(x)"
        rows = "[CLASSES[row.argmax()], *row.tolist()] for row in p"
    return f'''
def read(path):
    """The rows of an NPY file, or of a CSV file of {said}."""
    if path.endswith(".npy"):
        return np.load(path, allow_pickle=False)
    with open(path, encoding="utf-8-sig", newline="") as file:
{code}


if __name__ == "__main__":
    x = read(sys.argv[1])
    {computed}
    writer = csv.writer(sys.stdout, lineterminator="\\n")
    writer.writerow({shown})
    writer.writerows({rows})
'''
