"""All that is done to inputs before the network sees them: fitted once, stored with the model."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import CheckpointError, DataError
from .arrays import open_npy, read_archive
from .encode import Encoder, names
from .images import read_images
from .rows import Rows, cast, first_not_finite
from .standardize import Standardizer
from .table import READERS, Table, read_new


@dataclass(frozen=True, eq=False)
class Preparation:
    """From a table or an array to the network's inputs: encode, standardise, cast.

    Args:
        shape: the shape of one example as the network reads it.
        encoder: how a table becomes a matrix; None if the inputs are arrays.
        standardizer: None leaves the features as they are.
        classes: the names of the classes; None for regression.
        unused: columns that a table may have and that are not inputs, its target above all.
    """

    shape: tuple[int, ...]
    encoder: Encoder | None = None
    standardizer: Standardizer | None = None
    classes: tuple[str, ...] | None = None
    unused: tuple[str, ...] = ()

    def apply(self, raw: Table | np.ndarray, dtype: np.dtype | type = np.float32) -> np.ndarray:
        """Prepare new inputs as the training part was prepared.

        Shapes: (n, *shape)

        Raises:
            DataError: a table is given for an array or the reverse, columns or shapes differ, or a
                value is not finite.
        """
        if isinstance(raw, Table) != (self.encoder is not None):
            wanted = "an array (NPZ, NPY)" if self.encoder is None else "a table (CSV, Parquet)"
            raise DataError(f"the model was trained on other inputs: {wanted} is wanted")
        if isinstance(raw, Table):
            assert self.encoder is not None
            raw = self.encoder.apply(raw)
        if raw.shape[1:] != self.shape:
            raise DataError(f"the model reads rows of shape {self.shape}, got {raw.shape[1:]}")
        if raw.dtype.kind not in "biuf":
            raise DataError(f"the inputs hold {raw.dtype}, numbers are wanted")
        prepared = self.finish(raw, dtype)
        bad = first_not_finite(prepared)
        if bad is not None:
            raise DataError(
                f"row {bad[0]} of the inputs is not finite in {prepared.dtype}",
                where=self._column(bad[1:]),
                next="mend or remove it",
            )
        return prepared

    def _column(self, place: tuple[int, ...]) -> str:
        if self.encoder is not None:
            return f"column '{self.encoder.features[place[0]]}'"
        return f"column {place[0] if len(place) == 1 else place}"

    def finish(self, x: np.ndarray, dtype: np.dtype | type) -> np.ndarray:
        """Standardise and cast what is encoded already."""
        if self.standardizer is not None:
            return self.standardizer.apply(x, dtype)
        return cast(x, np.dtype(dtype))

    def to_json(self) -> dict:
        """Return plain lists and dictionaries, for storing with the model."""
        return {
            "shape": list(self.shape),
            "encoder": None if self.encoder is None else self.encoder.to_json(),
            "standardizer": None if self.standardizer is None else self.standardizer.to_json(),
            "classes": None if self.classes is None else list(self.classes),
            "unused": list(self.unused),
        }

    @classmethod
    def from_json(cls, stored: Any) -> Preparation:
        """Return what `to_json` stored.

        Raises:
            CheckpointError: it is not what `to_json` stores.
        """
        try:
            encoder, standardizer = stored["encoder"], stored["standardizer"]
            preparation = cls(
                shape=tuple(stored["shape"]),
                encoder=None if encoder is None else Encoder.from_json(encoder),
                standardizer=None if standardizer is None else Standardizer.from_json(standardizer),
                classes=None if stored["classes"] is None else names(stored["classes"]),
                unused=names(stored["unused"]),
            )
            preparation._check()
            return preparation
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"the stored preparation of the inputs is broken ({type(error).__name__}: {error})",
                next="use another checkpoint",
            ) from error

    def _check(self) -> None:
        """Refuse parts that do not belong together."""
        if not self.shape or not all(type(size) is int and size > 0 for size in self.shape):
            raise ValueError(f"no example has the shape {self.shape}")
        if self.encoder is not None and self.shape != (len(self.encoder.features),):
            raise ValueError(f"{len(self.encoder.features)} features, and shape {self.shape}")
        if self.standardizer is not None and self.standardizer.mean.shape != self.shape:
            raise ValueError(f"means of shape {self.standardizer.mean.shape} for {self.shape}")


def read_inputs(path: Path, preparation: Preparation) -> Table | np.ndarray:
    """Read inputs for a trained model: CSV, Parquet, NPZ (its array x), NPY, or pictures in IDX.

    The target need not be there. IDX pictures are flattened and divided by 255, as MNIST is.

    Raises:
        DataError: the file is absent, broken, or of no known kind.
    """
    suffix = path.suffix.lower()
    if suffix in READERS:
        encoder = preparation.encoder
        columns = () if encoder is None else encoder.columns
        return read_new(
            path,
            categorical=[c.name for c in columns if c.categories is not None],
            unused=preparation.unused,
        )
    if suffix == ".npy":
        return Rows(open_npy(path))[:]
    if suffix == ".npz":
        held = read_archive(path)
        if "x" not in held:
            raise DataError("no array 'x'", where=str(path))
        return held["x"]
    if "idx" in path.name:
        return read_images(path)[0][:]
    raise DataError(
        f"'{path.name}' is of no known kind", next="give .csv, .parquet, .npz, .npy or IDX pictures"
    )
