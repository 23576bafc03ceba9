"""Networks as estimators of scikit-learn: `fit` and `predict` over the training of `pullback`."""

from .classifier import NetworkClassifier as NetworkClassifier
from .regressor import NetworkRegressor as NetworkRegressor
