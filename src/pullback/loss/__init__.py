"""Losses: how wrong predictions are. Each owns its link from logits to predictions."""

from .classification import SigmoidCrossEntropy as SigmoidCrossEntropy
from .classification import SoftmaxCrossEntropy as SoftmaxCrossEntropy
from .core import Loss as Loss
from .likelihood import GaussianLikelihood as GaussianLikelihood
from .likelihood import PoissonLikelihood as PoissonLikelihood
from .margin import Hinge as Hinge
from .margin import MulticlassHinge as MulticlassHinge
from .margin import SquaredHinge as SquaredHinge
from .regression import AbsoluteError as AbsoluteError
from .regression import CosineDistance as CosineDistance
from .regression import Huber as Huber
from .regression import Quantile as Quantile
from .regression import SquaredError as SquaredError
from .weighted import ClassWeighted as ClassWeighted
from .weighted import balanced as balanced
