"""How exact the products of a run's steps are: as its experiment says, or as a trial finds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from ..arithmetic import Products
from ..optim import Method
from ..prepared import Prepared
from ..train import try_products


def settled(prepared: Prepared) -> tuple[Prepared, dict[str, Any]]:
    """Return the experiment as it will train, and what `meta.json` says of its precision.

    For "auto" some steps are taken in each way, and the faster is chosen. A second-order method
    wants full products, so that nothing is tried for it.
    """
    asked, task = prepared.experiment.precision, prepared.task
    if asked != "auto" or isinstance(task.rule, Method):
        return prepared, {"asked": asked, "products": task.products}
    trial = try_products(task, prepared.batches(prepared.loaded.train), prepared.experiment.seed)
    row = {"asked": asked, "products": trial.products, "step_seconds": trial.seconds}
    return _with(prepared, trial.products), row


def settled_again(prepared: Prepared, meta: Mapping[str, Any]) -> Prepared:
    """Return the experiment of a run with what was settled when it began: to go on alike."""
    row = meta.get("precision")
    return prepared if row is None else _with(prepared, row["products"])


def told(row: Mapping[str, Any]) -> str:
    """Say what was settled.

    >>> seconds = {"full": 0.004, "bfloat16": 0.0025}
    >>> told({"asked": "auto", "products": "bfloat16", "step_seconds": seconds})
    'bfloat16 products: a step took 2500 µs with them, 4000 µs with full ones'
    >>> told({"asked": "bfloat16", "products": "bfloat16"})
    'bfloat16 products'
    """
    chosen = row["products"]
    seconds = row.get("step_seconds")
    if seconds is None:
        return f"{chosen} products"
    other = next(way for way in seconds if way != chosen)
    return (
        f"{chosen} products: a step took {seconds[chosen] * 1e6:.0f} µs with them, "
        f"{seconds[other] * 1e6:.0f} µs with {other} ones"
    )


def _with(prepared: Prepared, products: Products) -> Prepared:
    return replace(prepared, task=replace(prepared.task, products=products))
