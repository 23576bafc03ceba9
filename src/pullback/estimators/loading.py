"""An estimator out of the folder that its `save` wrote."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from .. import jsontext, sealed, tensors, tree
from ..errors import CheckpointError, PullbackError
from ..train import Learner
from . import written
from .base import ARRAYS, DESCRIPTION, FORMAT, KIND, Network
from .classifier import NetworkClassifier
from .regressor import NetworkRegressor
from .training import arithmetic

_ESTIMATORS = {kind.__name__: kind for kind in (NetworkClassifier, NetworkRegressor)}


def load(path: str | Path) -> Any:
    """Load an estimator that was saved: it predicts, and goes on training, as the one that was.

    Nothing in the folder is code, and no class is made but those of `pullback`.

    Raises:
        CheckpointError: there is none, its files were changed, or what they tell does not fit
            together.
    """
    path = Path(path)
    contents = sealed.read(path, KIND, [ARRAYS, DESCRIPTION])
    where = str(path / DESCRIPTION)
    try:
        told = jsontext.decode(contents[DESCRIPTION])
    except ValueError as error:
        raise CheckpointError(f"no JSON: {error}", where=where) from error
    if not isinstance(told, dict) or told.get("format") != FORMAT:
        got = told.get("format") if isinstance(told, dict) else told
        raise CheckpointError(
            f"the estimator has format {got!r}, wanted {FORMAT}",
            where=where,
            next="use the version of pullback that wrote it",
        )
    kind = _ESTIMATORS.get(told["estimator"]) if isinstance(told.get("estimator"), str) else None
    tables = [told.get(name) for name in ("arguments", "fitted")]
    if kind is None or not all(isinstance(table, dict) for table in tables):
        raise CheckpointError(
            f"no estimator, or none of {', '.join(_ESTIMATORS)}: {told.get('estimator')!r}",
            where=where,
        )
    arguments, fitted = (
        {name: written.decode(each, where) for name, each in (table or {}).items()}
        for table in tables
    )
    try:
        model: Any = kind(**arguments)
        model._restore(fitted)
        held = str(path / ARRAYS)
        learner = _learner(model, tensors.decode(contents[ARRAYS], held), held)
    except CheckpointError:
        raise
    except (PullbackError, TypeError, ValueError, KeyError, AttributeError) as error:
        raise CheckpointError(
            f"what it tells does not fit together: {error}", where=where
        ) from None
    model.params_, model.state_, model._rule_state = learner
    return model


def _learner(model: Network, arrays: dict[str, np.ndarray], where: str) -> Learner:
    """The arrays in the structure that the network and the rule ask for.

    Raises:
        CheckpointError: one is missing, left over, of another shape or type, or not finite.
    """
    with arithmetic(model._dtype):
        x = jax.ShapeDtypeStruct((1, model.n_features_in_), model._dtype)
        params, state = jax.eval_shape(model.net_.init, jax.random.key(0), x)
        rule_state = jax.eval_shape(model._rule.init, params)
        template = {"params": params, "state": state, "rule": rule_state}
        held = tree.restore(template, arrays)
    # What a rule remembers may be infinite at its beginning.
    used = {name: array for name, array in arrays.items() if not name.startswith("rule/")}
    tensors.require_finite(used, where)
    held = jax.tree.map(np.asarray, held)
    return Learner(held["params"], held["state"], held["rule"])
