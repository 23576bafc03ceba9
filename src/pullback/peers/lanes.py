"""Simulations that differ in their seeds alone, in one compiled program, one beside another."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from .. import tree
from ..arithmetic import full_precision
from ..errors import ConfigError, DivergedError
from ..tree import Tree
from .rounds import Block, Net, run_rounds
from .simulate import Simulation


class Lanes:
    """Several simulations that go on together; each has its own record, as if it ran alone.

    They train on as many examples, dealt to as many workers, and differ in what they draw: first
    weights, order, parts, faults. Examples that are one object are held once. A lane that diverges
    is left behind.

    Attributes:
        simulations: all of them.
        failed: the error of each that diverged, by its place.

    Args:
        simulations: of one shape: see `alike`.

    Raises:
        ConfigError: they are not alike.
    """

    def __init__(self, simulations: Sequence[Simulation]):
        """Check that one program serves all."""
        if len({alike(each) for each in simulations}) != 1:
            raise ConfigError("lanes want simulations of one program, which differ in seeds alone")
        if simulations[0].lane().net.mesh is not None:
            raise ConfigError("lanes want simulations on one device", next="leave devices out")
        self.simulations = list(simulations)
        self.failed: dict[int, DivergedError] = {}

    def run(self, rounds: int) -> None:
        """Go on for so many rounds, with all that have not diverged."""
        left = rounds
        while left and len(self.failed) < len(self.simulations):
            count = min(left, self.simulations[0].block)
            self._advance(count)
            left -= count

    def _advance(self, count: int) -> None:
        going = [i for i in range(len(self.simulations)) if i not in self.failed]
        running = [self.simulations[i] for i in going]
        lanes = [each.lane() for each in running]
        common = len({id(each.examples) for each in running}) == 1
        masks, blocks = zip(*(each.planned(count) for each in running), strict=True)
        slots, seen = _run(
            lanes[0].net,
            common,
            _stacked([lane.slots for lane in lanes]),
            lanes[0].data if common else _stacked([lane.data for lane in lanes]),
            _stacked(_of_one_shape(blocks)),
            jnp.stack([lane.shares for lane in lanes]),
            np.array([lane.seed for lane in lanes], np.uint32),
            np.int32(running[0].progress.step),
            np.int32(count),
        )
        for k, i in enumerate(going):
            own, told = jax.tree.map(lambda a, k=k: a[k], (slots, seen))
            try:
                self.simulations[i].accept(own, told, masks[k], count)
            except DivergedError as error:
                self.failed[i] = error


def alike(simulation: Simulation) -> tuple[Any, ...]:
    """Return what must be equal for two simulations to be lanes of one program."""
    net, _, data, *_ = simulation.lane()
    return net, tree.form(data), simulation.block, simulation.progress.step


@functools.partial(jax.jit, static_argnames=("net", "common"), donate_argnames="slots")
@full_precision()
def _run(
    net: Net,
    common: bool,
    slots: Tree,
    data: Any,
    block: Block,
    shares: Any,
    seeds: Any,
    first,
    count,
):
    """The rounds of all lanes; the number of rounds is common, and the data are where they may."""

    def one(slots, data, block, shares, seed):
        return run_rounds(net, slots, data, block, shares, seed, first, count)

    axes = (0, None if common else 0, 0, 0, 0)
    return jax.vmap(one, axes)(slots, data, block, shares, seeds)


def _stacked(trees: Sequence[Tree]) -> Tree:
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _of_one_shape(blocks: Sequence[Block]) -> list[Block]:
    """Blocks whose rows are filled up to the most steps and the widest batch."""
    most = np.max([block.rows.shape for block in blocks], axis=0)

    def filled(rows):
        ends = [(0, wanted - have) for wanted, have in zip(most, rows.shape, strict=True)]
        return np.pad(rows, ends, constant_values=-1)

    return [block._replace(rows=filled(block.rows)) for block in blocks]
