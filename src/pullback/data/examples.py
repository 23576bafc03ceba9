"""Examples: what every source of data gives and what training reads."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from ..errors import DataError, ShapeError
from . import aligned
from .pixels import Pixels
from .rows import Rows, first_not_finite


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs with their targets, checked once, here.

    Shapes: x (n, ...); y (n,) class indices, or (n, k) numbers for regression; weight (n,).

    Args:
        x: the inputs, floating point and finite; `Pixels` if they are pictures that stay bytes;
            `Rows`, not checked here, if they stay on disk.
        y: what is to be predicted.
        weight: how much each example counts, not negative, some positive; None counts all alike.
        classes: the names of the classes; None means regression.
        features: the names of the columns of x, after encoding.
        image: the (height, width) as which a row of x may be drawn.
        name: the source.
        checksum: SHA-256 of the source's whole content, also for a part of it.

    Raises:
        DataError: lengths differ, a value is not finite, a label or a weight is out of range.

    >>> xor = Examples(np.eye(2), np.array([0, 1]), classes=("same", "other"))
    >>> len(xor), xor.targets(np.float64, 1).tolist()
    (2, [[0.0], [1.0]])
    """

    x: np.ndarray | Pixels | Rows
    y: np.ndarray
    weight: np.ndarray | None = None
    classes: tuple[str, ...] | None = None
    features: tuple[str, ...] | None = None
    image: tuple[int, ...] | None = None
    name: str = "data"
    checksum: str = ""

    def __post_init__(self):
        """Check the arrays."""
        self._check_x()
        if len(self.y) != len(self.x):
            raise DataError(f"x has {len(self.x)} rows, y has {len(self.y)}", where=self.name)
        self._check_y()
        if self.weight is not None:
            self._check_weight(self.weight)

    def __len__(self) -> int:
        """Return the number of examples."""
        return len(self.x)

    @property
    def streamed(self) -> bool:
        """Whether the inputs stay on disk and are read chunk by chunk."""
        return isinstance(self.x, Rows)

    def take(self, index: np.ndarray) -> Examples:
        """Return the examples at `index`; inputs that lie on disk are not read."""
        return replace(
            self,
            x=aligned.taken(self.x, index)
            if isinstance(self.x, np.ndarray)
            else self.x.take(index),
            y=self.y[index],
            weight=None if self.weight is None else self.weight[index],
        )

    def targets(self, dtype: np.dtype | type, width: int) -> np.ndarray:
        """Return the targets as a network with `width` outputs wants them.

        Two classes and one output: 0 or 1, as (n, 1). As many outputs as classes: one-hot.
        Regression: y itself.

        Shapes: (n, width)

        Raises:
            ShapeError: the network's outputs do not fit the data.
        """
        if self.classes is None:
            if width != self.y.shape[1]:
                raise self._misfit(width, f"{self.y.shape[1]}, one for each target")
            return self.y.astype(dtype)
        if width == 1 and len(self.classes) == 2:
            return self.y[:, None].astype(dtype)
        if width != len(self.classes):
            single = "1 or " if len(self.classes) == 2 else ""
            raise self._misfit(width, f"{single}{len(self.classes)}, one for each class")
        one_hot = aligned.empty((len(self), width), dtype)
        one_hot[...] = 0
        one_hot[np.arange(len(self)), self.y] = 1
        return one_hot

    def _misfit(self, width: int, wanted: str) -> ShapeError:
        return ShapeError(
            f"the network has {width} outputs, the data want {wanted}",
            where=f"data '{self.name}'",
            next="change the width of the last affine map",
        )

    def _check_x(self):
        if self.x.ndim < 2:
            raise DataError(f"x has shape {self.x.shape}, (n, ...) is wanted", where=self.name)
        if not len(self.x):
            raise DataError("there are no examples", where=self.name)
        size = int(np.prod(self.x.shape[1:]))
        if self.image is not None and int(np.prod(self.image)) != size:
            raise DataError(
                f"an image of {self.image} has {int(np.prod(self.image))} pixels, a row has {size}",
                where=self.name,
                next="correct image",
            )
        if self.features is not None and (len(self.features),) != self.x.shape[1:]:
            raise DataError(
                f"{len(self.features)} feature names for rows of shape {self.x.shape[1:]}",
                where=self.name,
            )
        if not isinstance(self.x, np.ndarray):
            return
        if self.x.dtype.kind != "f":
            raise DataError(f"x holds {self.x.dtype}, floating point is wanted", where=self.name)
        bad = first_not_finite(self.x)
        if bad is not None:
            raise not_finite("x", self.x[bad], bad, self.name, self.features)

    def _check_y(self):
        if self.classes is None:
            if self.y.ndim != 2 or self.y.dtype.kind != "f":
                raise DataError(
                    f"regression wants targets (n, k) of floating point, got {self.y.shape} "
                    f"of {self.y.dtype}",
                    where=self.name,
                )
            bad = first_not_finite(self.y)
            if bad is not None:
                raise not_finite("y", self.y[bad], bad, self.name, None)
            return
        if self.y.ndim != 1 or self.y.dtype.kind not in "iu":
            raise DataError(
                f"classes want indices (n,) of integers, got {self.y.shape} of {self.y.dtype}",
                where=self.name,
            )
        wrong = np.flatnonzero((self.y < 0) | (self.y >= len(self.classes)))
        if len(wrong):
            raise DataError(
                f"y[{wrong[0]}] is {self.y[wrong[0]]}, labels lie in 0..{len(self.classes) - 1}",
                where=self.name,
            )

    def _check_weight(self, weight: np.ndarray):
        if weight.shape != (len(self),):
            raise DataError(
                f"weight has shape {weight.shape}, ({len(self)},) is wanted", where=self.name
            )
        wrong = np.flatnonzero(~(np.isfinite(weight) & (weight >= 0)))
        if len(wrong):
            raise DataError(
                f"weight[{wrong[0]}] is {weight[wrong[0]]}, finite and at least 0 is wanted",
                where=self.name,
            )
        if not weight.sum() > 0:
            raise DataError("all weights are zero", where=self.name, next="weigh some example")


def not_finite(
    what: str,
    value: float,
    index: tuple[int, ...],
    where: str,
    features: tuple[str, ...] | None,
) -> DataError:
    """Return the error that names one value which is nan or infinite."""
    row, *rest = index
    place = [repr(features[rest[0]])] if features is not None else [str(i) for i in rest]
    return DataError(
        f"{what}[{', '.join([str(row), *place])}] is {value}, finite numbers are wanted",
        where=where,
        next="mend or remove that row",
    )
