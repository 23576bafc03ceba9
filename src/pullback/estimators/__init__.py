"""Networks as estimators of scikit-learn: `fit` and `predict` over the training of `pullback`."""

from .classifier import NetworkClassifier as NetworkClassifier
from .loading import load as load
from .regressor import NetworkRegressor as NetworkRegressor
from .transformer import NetworkTransformer as NetworkTransformer
