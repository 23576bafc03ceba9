"""Arrays of the user's own: NPZ with x, y and perhaps weight; NPY, which may stay on disk."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..errors import DataError
from .examples import Examples, not_finite
from .idx import DEFLATE_LIMIT
from .labels import Task, targets_of
from .npy import Header, read_header
from .rows import Rows, cast, digest, first_not_finite

_MEMBERS = ("x", "y", "weight")


def read_npz(
    path: Path,
    *,
    task: Task = "auto",
    image: tuple[int, ...] | None = None,
    dtype: np.dtype | type = np.float32,
) -> Examples:
    """Read examples from the arrays x, y and, where there is one, weight.

    Raises:
        DataError: the file is absent, broken or claims what it does not hold, or an array is
            missing or unfit.
    """
    held = read_archive(path)
    for name in ("x", "y"):
        if name not in held:
            raise DataError(f"no array '{name}'", where=str(path), next="save it with x and y")
    weight = held.get("weight")
    if weight is not None and weight.dtype.kind not in "iuf":
        raise DataError(f"weight holds {weight.dtype}, numbers are wanted", where=str(path))
    checksum = digest(held["x"], held["y"], *([] if weight is None else [weight]))
    _check_inputs(held["x"], path)
    y, classes = targets_of(held["y"], task, f"{path}, array 'y'")
    return Examples(
        x=cast(held["x"], np.dtype(dtype)),
        y=y,
        weight=None if weight is None else weight.astype(np.float64),
        classes=classes,
        image=image,
        name=path.name,
        checksum=checksum,
    )


def read_npy(
    path: Path,
    target_path: Path,
    *,
    limit_bytes: float,
    task: Task = "auto",
    image: tuple[int, ...] | None = None,
    dtype: np.dtype | type = np.float32,
) -> Examples:
    """Read examples from two NPY files; inputs of more than `limit_bytes` stay on disk as `Rows`.

    Raises:
        DataError: a file is absent, broken or unfit, or a value of x is not finite.
    """
    x, values = open_npy(path), np.array(open_npy(target_path))
    _check_inputs(x, path)
    if len(x) != len(values):
        raise DataError(f"x has {len(x)} rows, y has {len(values)}", where=f"{path}, {target_path}")
    y, classes = targets_of(values, task, str(target_path))
    streams = x.size * np.dtype(dtype).itemsize > limit_bytes
    if streams:
        # Examples checks what is in memory; here is the one pass over what is not.
        bad = first_not_finite(x)
        if bad is not None:
            raise not_finite("x", x[bad], bad, str(path), None)
    return Examples(
        x=Rows(x) if streams else cast(np.array(x), np.dtype(dtype)),
        y=y,
        classes=classes,
        image=image,
        name=path.name,
        checksum=digest(x, values),
    )


def open_npy(path: Path) -> np.ndarray:
    """Map a NPY file into memory, read-only.

    Raises:
        DataError: it is absent, broken, empty, or holds anything but numbers and text.
    """
    try:
        with path.open("rb") as file:
            header = read_header(file)
            size = file.seek(0, 2)
        _check_claim(header, size, path.name)
        array = np.memmap(path, header.dtype, "r", header.offset, header.shape, header.order)
        _check_text(array, path.name)
        return array
    except DataError as error:
        raise error.at(str(path)) from error
    except OSError as error:
        raise DataError(f"cannot read the file: {error.strerror}", where=str(path)) from error


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Read the arrays x, y and weight, or those of them that there are, of a NPZ file.

    What each claims is compared with what is there before it is read.

    Raises:
        DataError: the file is absent or broken, holds another array or Python objects, or claims
            absurd sizes.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {m.filename.removesuffix(".npy"): m for m in archive.infolist()}
            for name in members:
                if name not in _MEMBERS:
                    raise DataError(
                        f"the file holds an array {name!r}", next=f"save {', '.join(_MEMBERS)}"
                    )
            return {name: _member(archive, member) for name, member in members.items()}
    except DataError as error:
        raise error.at(str(path)) from error
    except (OSError, EOFError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        # zipfile says ValueError of a name that is not UTF-8, RuntimeError of an encrypted member
        raise DataError(f"cannot read NPZ: {_one_line(error)}", where=str(path)) from error


def _member(archive: zipfile.ZipFile, member: zipfile.ZipInfo) -> np.ndarray:
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DataError(f"{member.filename!r} is packed in a way that NumPy never uses")
    if member.file_size > DEFLATE_LIMIT * max(member.compress_size, 1):
        raise DataError(f"{member.filename!r} cannot hold the {member.file_size} bytes it claims")
    with archive.open(member) as stream:
        header = read_header(stream)
        _check_claim(header, member.file_size, member.filename)
        data = bytearray(stream.read())
    _check_claim(header, header.offset + len(data), member.filename)
    array = np.frombuffer(data, header.dtype).reshape(header.shape, order=header.order)
    _check_text(array, member.filename)
    return array


def _check_claim(header: Header, size: int, name: str) -> None:
    if header.size != size:
        raise DataError(
            f"{name!r} claims {header.shape} of {header.dtype}, {header.size} bytes, it has {size}"
        )
    if size == header.offset:
        raise DataError(f"{name!r} has shape {header.shape}: there is nothing in it")


def _check_text(array: np.ndarray, name: str) -> None:
    """Refuse text that is no Unicode, which NumPy hands on and Python cannot hold or print."""
    if array.dtype.kind != "U":
        return
    codes = np.frombuffer(array.tobytes(), array.dtype.byteorder + "u4")
    if ((codes > 0x10FFFF) | ((codes >= 0xD800) & (codes < 0xE000))).any():
        raise DataError(f"{name!r} holds text that is not Unicode")


def _check_inputs(x: np.ndarray, path: Path) -> None:
    if x.dtype.kind not in "biuf":
        raise DataError(f"x holds {x.dtype}, numbers are wanted", where=str(path))
    if x.ndim < 2:
        raise DataError(
            f"x has shape {x.shape}, (n, ...) is wanted",
            where=str(path),
            next="reshape it to (n, 1)",
        )


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__
