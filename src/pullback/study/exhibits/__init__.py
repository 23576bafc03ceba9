"""What studies show beside trainings: one function each, which gives numbers and charts.

A function's keyword arguments are the settings that a study's file may give it.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from ...errors import nearest
from .activations import activation_curves
from .core import Given as Given
from .core import Shown as Shown
from .differences import difference_steps
from .early_stopping import early_stopping_is_l2
from .exclusive_or import exclusive_or
from .gradient_flow import gradient_flow
from .grid import boundary_grid
from .identities import identities
from .initialisation import initial_signals
from .normalisation import batch_norm_reverse
from .norms import l1_and_l2
from .one_hidden_layer import formulas, gradient_check, loop_and_matrix
from .optimisers import optimiser_paths
from .output_units import output_units
from .searching import search_scales
from .serial import serial_workers
from .smoothness import smoothness
from .sparsity import pruning, sizes
from .towers import comparison_by_difference

KINDS: dict[str, Callable[..., Shown]] = {
    "activation-curves": activation_curves,
    "batch-norm-reverse": batch_norm_reverse,
    "boundary-grid": boundary_grid,
    "comparison-by-difference": comparison_by_difference,
    "difference-steps": difference_steps,
    "early-stopping": early_stopping_is_l2,
    "formulas": formulas,
    "gradient-check": gradient_check,
    "gradient-flow": gradient_flow,
    "identities": identities,
    "initial-signals": initial_signals,
    "l1-and-l2": l1_and_l2,
    "loop-matrix": loop_and_matrix,
    "optimiser-paths": optimiser_paths,
    "output-units": output_units,
    "pruning": pruning,
    "search-scales": search_scales,
    "serial-workers": serial_workers,
    "sizes": sizes,
    "smoothness": smoothness,
    "xor": exclusive_or,
}


def check(kind: str, settings: Mapping[str, Any]) -> None:
    """Refuse a kind that is not there, or settings that it does not take.

    Raises:
        ValueError: with what is wrong.
    """
    if kind not in KINDS:
        raise ValueError(f"there is no exhibit '{kind}': {nearest(kind, KINDS)}")
    try:
        inspect.signature(KINDS[kind]).bind(None, **settings)
    except TypeError as error:
        raise ValueError(f"the exhibit '{kind}': {error}") from None
