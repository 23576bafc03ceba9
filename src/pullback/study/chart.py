"""A picture as data: what an exhibit leaves behind, to be drawn by the report.

It holds numbers and words alone, so that it lies beside a run as JSON, and a page can be made
again without computing anything anew.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import numpy as np
import pydantic
from pydantic import BaseModel, ConfigDict, Field

Numbers = tuple[float | None, ...]
"""A value that is not finite is None: JSON has no word for it."""


def numbers(values: Any) -> Numbers:
    """A row of numbers as a chart holds it.

    >>> numbers([1, float("nan")])
    (1.0, None)
    """
    return tuple(float(v) if np.isfinite(v) else None for v in np.asarray(values, dtype=float))


# A row may be given as any array; it is kept as Numbers.
Row = Annotated[Any, pydantic.BeforeValidator(numbers)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Curve(_Part):
    """Points of one name: a line, or dots alone.

    x, y: the points, equally many. low, high: the ends of a band around y, or neither. dots:
    whether they are not joined.
    """

    name: str
    x: Row
    y: Row
    low: Row | None = None
    high: Row | None = None
    dots: bool = False

    @pydantic.model_validator(mode="after")
    def _fits(self):
        rows = [row for row in (self.y, self.low, self.high) if row is not None]
        if any(len(row) != len(self.x) for row in rows) or (self.low is None) != (
            self.high is None
        ):
            raise ValueError(f"the curve '{self.name}' has rows of different lengths")
        return self


class Plane(_Part):
    """A function over a rectangle: values[i][j] at (x[j], y[i]).

    x, y: the lines of the grid. values: on it. lines: "levels", which are drawn as lines of equal
    value, or "half", of a probability, with its boundary at ½.
    """

    x: Row
    y: Row
    values: tuple[Row, ...]
    lines: Literal["levels", "half"] = "levels"

    @pydantic.model_validator(mode="after")
    def _fits(self):
        if len(self.values) != len(self.y) or any(len(r) != len(self.x) for r in self.values):
            raise ValueError("the values of a plane do not fit its grid")
        return self


class Panel(_Part):
    """One pair of axes: its title, its curves, and what lies under them."""

    title: str = ""
    curves: tuple[Curve, ...] = ()
    plane: Plane | None = None


class Chart(_Part):
    """One figure of panels that share the names of their axes.

    id: unique in a study. title: a few words. caption: what is drawn. x, y: the axes, with units.
    log: which of them are logarithmic: "", "x", "y" or "xy". percent: whether y is a share of one.
    bars: whether curves are bars, one for each name of `ticks`, in groups. ticks: what the whole
    numbers on the axis x stand for. equal: whether both axes have one scale.
    """

    id: str = Field(pattern=r"^[a-z0-9][a-z0-9-]*$")
    title: str
    caption: str
    x: str
    y: str
    panels: tuple[Panel, ...] = Field(min_length=1)
    log: Literal["", "x", "y", "xy"] = ""
    percent: bool = False
    bars: bool = False
    ticks: tuple[str, ...] = ()
    equal: bool = False


def chart(
    id: str, title: str, caption: str, x: str, y: str, curves: Sequence[Curve], **more: Any
) -> Chart:
    """Make a chart of one panel."""
    panels = (Panel(curves=tuple(curves)),)
    return Chart(id=id, title=title, caption=caption, x=x, y=y, panels=panels, **more)
