"""scikit-learn's own checks of estimators, for the defaults and for other settings.

With SCIPY_ARRAY_API=1 in the environment its check of array types runs, too.
"""

from __future__ import annotations

from typing import Any

import pytest
from sklearn.base import is_regressor
from sklearn.utils.estimator_checks import parametrize_with_checks

from pullback.estimators import NetworkClassifier, NetworkRegressor, NetworkTransformer

# scikit-learn runs its own checks under this filter, too: a check's few epochs rarely suffice.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

COPIES = "check_sample_weight_equivalence_on_"
MASKS: dict[str, str] = dict.fromkeys(
    (f"{COPIES}dense_data", f"{COPIES}sparse_data"),
    "each row has a mask of its own, and copies of a row have several",
)
ROUNDING = "the check wants the digits of float64"

# By the settings: the checks that must fail, each with the reason. One that passes is an error.
OTHERS: dict[str, tuple[dict[str, Any], dict[str, str]]] = {
    "sgd": ({"rule": "momentum", "learning_rate": 0.003}, {}),
    "lbfgs": ({"rule": "lbfgs"}, {}),
    "dropout": ({"dropout": 0.1, "normalization": "layer-norm"}, MASKS),
    "float32": ({"precision": "float32"}, dict.fromkeys(MASKS, ROUNDING)),
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
            wide = settings == {"precision": "float32"} and is_regressor(estimator)
            return fails | ({"check_regressor_multioutput": ROUNDING} if wide else {})
    return {}


@pytest.mark.long
@parametrize_with_checks(
    [*others(), NetworkTransformer()], expected_failed_checks=expected, xfail_strict=True
)
def test_other_settings(estimator, check):
    check(estimator)
