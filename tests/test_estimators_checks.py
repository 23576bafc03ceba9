"""scikit-learn's own checks of estimators, for the defaults and for other settings.

With SCIPY_ARRAY_API=1 in the environment its check of array types runs, too.
"""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from pullback.estimators import NetworkClassifier, NetworkRegressor, NetworkTransformer

# scikit-learn runs its own checks under this filter, too: a check's few epochs rarely suffice.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

WEIGHTS = "weights are no copies: masks and statistics are of the rows of a batch"
ROUNDING = "the check wants the digits of float64"

# By the settings: the checks that must fail, each with the reason. One that passes is an error.
OTHERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "sgd": ({"rule": "momentum", "learning_rate": 0.05}, {}),
    "lbfgs": ({"rule": "lbfgs"}, {}),
    "dropout": ({"dropout": 0.1, "normalization": "layer-norm"}, {}),
    "float32": ({"precision": "float32"}, {}),
}


@parametrize_with_checks([NetworkClassifier(), NetworkRegressor()])
def test_defaults(estimator, check):
    check(estimator)


def others():
    for settings, _ in OTHERS.values():
        yield NetworkClassifier(**settings)
        yield NetworkRegressor(**settings)


def expected(estimator) -> dict[str, str]:
    given = estimator.get_params(deep=False)
    for settings, fails in OTHERS.values():
        if all(given.get(name) == value for name, value in settings.items()):
            return fails
    return {}


@pytest.mark.long
@parametrize_with_checks(
    [*others(), NetworkTransformer()], expected_failed_checks=expected, xfail_strict=True
)
def test_other_settings(estimator, check):
    check(estimator)
