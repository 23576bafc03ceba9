"""The formats by name, and how a model is written in one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from .. import files, tensors, tree
from ..errors import OutputError
from ..model import Model
from .numpy_file import numpy_files
from .onnx_file import onnx_bytes


def _weights(model: Model) -> dict[str, bytes]:
    held = tree.named({"params": model.params, "state": model.state})
    return {
        "": tensors.encode({name: np.asarray(leaf) for name, leaf in held.items()}, sparse=False)
    }


# What each format writes: file names and bytes; the empty name is the given place itself.
_WRITERS: dict[str, Callable[[Model], dict[str, bytes]]] = {
    "numpy": numpy_files,
    "onnx": lambda model: {"": onnx_bytes(model)},
    "safetensors": _weights,
}

FORMATS = tuple(_WRITERS)
ENDINGS = {"numpy": "-numpy", "onnx": ".onnx", "safetensors": ".safetensors"}


def export(model: Model, to: str, out: Path, force: bool = False) -> list[dict[str, Any]]:
    """Write a trained network for other programs.

    Args:
        model: the network.
        to: one of `FORMATS`: "onnx"; "numpy", a folder of `predict.py` and `weights.npz`; or
            "safetensors", the arrays alone by their names.
        out: the file, or the folder for "numpy".
        force: whether files that are there already are replaced.

    Returns:
        For each file its path and size, as "path" and "bytes".

    Raises:
        ConfigError: the format has no word for a map or the loss.
        OutputError: a file is there already, or cannot be written.
    """
    contents = {out / name if name else out: data for name, data in _WRITERS[to](model).items()}
    for path in contents:
        if path.is_dir() or (path.exists() and not force):
            what, next = (
                ("is a folder", "give another name")
                if path.is_dir()
                else ("is there already", "give another name, or replace it with --force")
            )
            raise OutputError(f"{path} {what}", next=next)
    for path, data in contents.items():
        with files.writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        files.write_bytes(path, data)
    return [{"path": str(path), "bytes": len(data)} for path, data in contents.items()]
