"""Time the forward and the reverse pass of a normalisation, each compiled alone with its results.

`python -m benchmarks.reverse` prints the ratio of the two: a reverse in closed form should cost
little more than its forward pass. They take turns, so that a machine that slows down slows both.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from pullback.maps import BatchNorm, LayerNorm, Map, Run

MAPS = (BatchNorm("l2"), BatchNorm("l1"), BatchNorm("linf"), LayerNorm())
SHAPES = ((1000, 500), (100, 500))
CALLS = 100


def passes(map: Map, shape: tuple[int, ...]) -> dict[str, Callable[[], Any]]:
    """Return both passes of training at random inputs, compiled, as functions of nothing."""
    draw = np.random.default_rng(0)
    x, dy = (jnp.asarray(draw.normal(size=shape), jnp.float32) for _ in range(2))
    params, state = map.init(jax.random.key(0), x)
    forward, reverse = jax.jit(map.forward), jax.jit(map.reverse)
    run = Run(train=True)
    _, saved, _ = jax.block_until_ready(forward(params, state, x, run))
    jax.block_until_ready(reverse(params, saved, dy))
    return {
        "forward": lambda: forward(params, state, x, run),
        "reverse": lambda: reverse(params, saved, dy),
    }


def seconds(call: Callable[[], Any]) -> float:
    """Return the time of one call, from many in a row."""
    began = time.perf_counter()
    for _ in range(CALLS):
        jax.block_until_ready(call())
    return (time.perf_counter() - began) / CALLS


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reverse", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="how often each is timed")
    rounds = parser.parse_args().rounds
    print(f"{'map':<10} {'shape':<12} {'forward':>10} {'reverse':>10}  ratio  min–max")
    for map in MAPS:
        for shape in SHAPES:
            timed = passes(map, shape)
            times = [{name: seconds(call) for name, call in timed.items()} for _ in range(rounds)]
            middle = {name: statistics.median(each[name] for each in times) for name in timed}
            ratios = sorted(each["reverse"] / each["forward"] for each in times)
            name = getattr(map, "deviation", "layer")
            print(
                f"{name:<10} {shape!s:<12} {middle['forward'] * 1e6:>7.1f} µs "
                f"{middle['reverse'] * 1e6:>7.1f} µs  {statistics.median(ratios):>5.2f}  "
                f"{ratios[0]:.2f}–{ratios[-1]:.2f}"
            )


if __name__ == "__main__":
    main()
