"""scikit-learn's own checks of estimators, for the defaults and for other settings."""

from __future__ import annotations

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from pullback.estimators import NetworkClassifier, NetworkRegressor

# scikit-learn runs its own checks under this filter, too: a check's few epochs rarely suffice.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")


@parametrize_with_checks([NetworkClassifier(), NetworkRegressor()])
def test_defaults(estimator, check):
    check(estimator)
