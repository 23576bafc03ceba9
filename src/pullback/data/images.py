"""MNIST and Fashion-MNIST: pictures with their labels, training and test part apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from ..errors import DataError
from .aligned import aligned
from .examples import Examples
from .idx import read_idx
from .pixels import Pixels
from .registry import FASHION_MNIST, MNIST, DataFile, DataSet
from .rows import digest
from .store import Directory, data_file, locate


def mnist(directory: Directory, dtype: np.dtype | type = np.float32) -> tuple[Examples, Examples]:
    """Return MNIST's training and test part.

    Shapes: x (60000, 784) and (10000, 784), grey levels 0..255 divided by 255, as `Pixels`: an
        index gives the numbers, `x[:]` all of them; y in 0..9
    Source: Y. LeCun, C. Cortes, C. J. C. Burges 1998, the MNIST database

    The structure of the files is checked, not their sums: `verify` does that.

    Raises:
        DataError: a file is absent, broken or not what its name says.
    """
    return _read(MNIST, directory, dtype)


def fashion_mnist(
    directory: Directory, dtype: np.dtype | type = np.float32
) -> tuple[Examples, Examples]:
    """Return Fashion-MNIST's training and test part, in the form of `mnist`.

    Source: H. Xiao, K. Rasul, R. Vollgraf 2017, arXiv:1708.07747
    """
    return _read(FASHION_MNIST, directory, dtype)


def read_images(path: Path, dtype: np.dtype | type = np.float32) -> tuple[Pixels, np.ndarray]:
    """Read an IDX file of pictures.

    Returns:
        x (n, h·w), grey levels divided by 255, and the pictures themselves, (n, h, w) of uint8,
        which are all the memory that both take.

    Raises:
        DataError: it is none.
    """
    pictures = read_idx(path)
    if pictures.ndim != 3 or pictures.dtype != np.uint8:
        raise DataError(
            f"pictures (n, h, w) of uint8 are wanted, got {pictures.shape} of {pictures.dtype}",
            where=str(path),
            next="it holds labels: are the files swapped?"
            if pictures.ndim == 1
            else "fetch it again",
        )
    if not pictures.size:
        raise DataError("the file holds no pictures", where=str(path))
    pictures = aligned(pictures)
    return Pixels(pictures.reshape(len(pictures), -1), np.dtype(dtype)), pictures


def _read(
    data_set: DataSet, directory: Directory, dtype: np.dtype | type
) -> tuple[Examples, Examples]:
    folder = locate(data_set, directory)
    train_x, train_pictures = read_images(data_file(data_set.train_images, folder), dtype)
    test_x, test_pictures = read_images(data_file(data_set.test_images, folder), dtype)
    if train_pictures.shape[1:] != test_pictures.shape[1:]:
        raise DataError(
            f"training pictures are {train_pictures.shape[1:]}, "
            f"test pictures {test_pictures.shape[1:]}",
            where=str(folder),
        )
    train_y = _labels(data_set, data_set.train_labels, folder, len(train_x))
    test_y = _labels(data_set, data_set.test_labels, folder, len(test_x))
    checksum = digest(train_pictures, train_y, test_pictures, test_y)

    def part(x: Pixels, y: np.ndarray) -> Examples:
        return Examples(
            x=x,
            y=y,
            classes=data_set.classes,
            image=train_pictures.shape[1:],
            name=data_set.name,
            checksum=checksum,
        )

    return part(train_x, train_y), part(test_x, test_y)


def _labels(data_set: DataSet, file: DataFile, folder: Path, n: int) -> np.ndarray:
    path = data_file(file, folder)
    labels = read_idx(path)
    if labels.ndim != 1 or labels.dtype != np.uint8:
        raise DataError(
            f"labels (n,) of uint8 are wanted, got {labels.shape} of {labels.dtype}",
            where=str(path),
            next="it holds pictures: are the files swapped?"
            if labels.ndim == 3
            else "fetch it again",
        )
    if len(labels) != n:
        raise DataError(f"{len(labels)} labels for {n} pictures", where=str(path))
    if labels.max() >= len(data_set.classes):
        raise DataError(
            f"label {labels.max()} of a data set with {len(data_set.classes)} classes",
            where=str(path),
        )
    return labels
