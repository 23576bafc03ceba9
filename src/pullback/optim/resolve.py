"""What only a run can tell a rule: how many steps an epoch has, and the whole run."""

from __future__ import annotations

import dataclasses
from typing import Any

from .schedule import Warmup, steps_in


def resolve(part: Any, steps_per_epoch: int, steps: int) -> Any:
    """A rule or a schedule whose times are all in steps.

    A unit of "epoch" becomes the steps of an epoch, a length of "run" all steps of the run, or what
    a warm-up leaves of them.

    Args:
        part: a rule, or any part of one; what is not ours is left as it is.
        steps_per_epoch: the steps of an epoch.
        steps: those of the run.

    >>> from pullback.optim import SGD, Cosine
    >>> resolve(SGD(Warmup(2, Cosine(0.1), unit="epoch")), 10, 50).learning_rate.then.length
    30
    """
    if type(part) is tuple:
        return tuple(resolve(each, steps_per_epoch, steps) for each in part)
    if not dataclasses.is_dataclass(part) or isinstance(part, type):
        return part
    values = {field.name: getattr(part, field.name) for field in dataclasses.fields(part)}
    if values.get("unit") == "epoch":
        values["unit"] = steps_per_epoch
    if values.get("length") == "run":
        values |= {"length": steps, "unit": 1}
    if isinstance(part, Warmup):
        # A run that ends in its warm-up has nothing after it, but a schedule wants one step.
        steps = max(steps - part.length * steps_in(values["unit"]), 1)
    values = {name: resolve(value, steps_per_epoch, steps) for name, value in values.items()}
    return dataclasses.replace(part, **values)
