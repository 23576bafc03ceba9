"""Workers of a simulation spread over several devices: where each array of a program lies.

Local work needs nothing of other workers, so that every device does that of its own. To mix, each
gets a share of the columns of all workers, and gives them back: what XLA makes of it is an
exchange of all with all, before and after, and every sum is made in the order that it has on one.
"""

from __future__ import annotations

from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from ..errors import ConfigError

AXIS = "workers"


def spread(devices: int | Literal["all"], workers: int) -> Mesh | None:
    """Return the mesh of so many devices; None of one, which needs none.

    Raises:
        ConfigError: there are not so many devices, or workers cannot be dealt to them evenly.

    >>> spread(1, 5) is None
    True
    """
    there = jax.devices()
    if devices != "all" and (not isinstance(devices, int) or devices < 1):
        raise ConfigError(f'devices must be a whole number of at least 1, or "all", got {devices}')
    count = len(there) if devices == "all" else devices
    if count > len(there):
        raise ConfigError(
            f"{count} devices are asked for, and there are {len(there)} of {there[0].platform}",
            next='ask for as many as there are, or for "all"',
        )
    if workers % count:
        raise ConfigError(
            f"{workers} workers cannot be dealt evenly to {count} devices",
            next=f"take as many devices as divide {workers}",
        )
    return None if count == 1 else Mesh(np.array(there[:count]), (AXIS,))


def spec(axis: int | None = 0) -> PartitionSpec:
    """Return how an array is cut whose given axis is shared out; None for one that all have."""
    return PartitionSpec() if axis is None else PartitionSpec(*[None] * axis, AXIS)


def place(mesh: Mesh | None, arrays: Any, axis: int | None = 0) -> Any:
    """Put arrays onto the devices of a mesh, cut along an axis; without one, onto the usual."""
    return jax.device_put(arrays, None if mesh is None else NamedSharding(mesh, spec(axis)))


def pin(mesh: Mesh | None, arrays: Any, axis: int = 0) -> Any:
    """Say, inside a program, along which axis arrays are cut there. An axis may be cut unevenly."""
    if mesh is None:
        return arrays
    return jax.lax.with_sharding_constraint(arrays, NamedSharding(mesh, spec(axis)))
