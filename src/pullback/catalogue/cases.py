"""The cases on which losses, penalties and initialisers are tried: complete by test."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from .. import initializer, loss, penalty
from ..loss import Loss


@dataclass(frozen=True)
class LossCase:
    """A loss, and what its targets are.

    Attributes:
        name: names the case.
        loss: what is tried.
        targets: one-hot rows of "classes", independent "labels" of 0 and 1, any "numbers", or
            "counts".
        columns: of targets.
        reach: up to which magnitude of the logits values and slopes must hold in float32.
    """

    name: str
    loss: Loss
    targets: Literal["classes", "labels", "numbers", "counts"] = "numbers"
    columns: int = 3
    reach: float = 1e4

    def sample(self, seed: int = 0, n: int = 6, dtype: Any = np.float64) -> Any:
        """Random logits, normal, and targets that suit."""
        rng = np.random.default_rng(seed)
        z = 2 * rng.standard_normal((n, self.loss.width(self.columns)))
        shape = (n, self.columns)
        match self.targets:
            case "classes":
                t = np.eye(self.columns)[rng.integers(0, self.columns, n)]
            case "labels":
                t = rng.integers(0, 2, shape)
            case "counts":
                t = rng.poisson(3, shape)
            case "numbers":
                t = 2 * rng.standard_normal(shape)
        return z.astype(dtype), t.astype(dtype)


LOSSES = [
    LossCase("squared error", loss.SquaredError()),
    LossCase("absolute error", loss.AbsoluteError()),
    LossCase("Huber", loss.Huber()),
    LossCase("Huber, narrow", loss.Huber(0.3)),
    LossCase("median", loss.Quantile()),
    LossCase("upper decile", loss.Quantile(0.9)),
    LossCase("cosine distance", loss.CosineDistance()),
    LossCase("Gaussian likelihood", loss.GaussianLikelihood()),
    LossCase("Gaussian likelihood, one target", loss.GaussianLikelihood(0.01), columns=1),
    LossCase("Poisson likelihood", loss.PoissonLikelihood(), "counts", reach=80),
    LossCase("softmax", loss.SoftmaxCrossEntropy(), "classes"),
    LossCase("softmax, any targets", loss.SoftmaxCrossEntropy()),
    LossCase("softmax, smoothed", loss.SoftmaxCrossEntropy(0.1), "classes"),
    LossCase("sigmoid", loss.SigmoidCrossEntropy(), "labels"),
    LossCase("sigmoid of one output", loss.SigmoidCrossEntropy(), "labels", 1),
    LossCase("sigmoid, smoothed", loss.SigmoidCrossEntropy(0.1), "labels"),
    LossCase("hinge", loss.Hinge(), "labels", 1),
    LossCase("hinge, one against the rest", loss.Hinge(), "classes"),
    LossCase("squared hinge", loss.SquaredHinge(), "labels", 1),
    LossCase("multiclass hinge", loss.MulticlassHinge(), "classes", 4),
    LossCase("classes weighted", loss.ClassWeighted(loss.Hinge(), (0.5, 0.0, 3.0)), "classes"),
    LossCase(
        "two classes weighted, one output",
        loss.ClassWeighted(loss.SigmoidCrossEntropy(), (0.25, 4.0)),
        "labels",
        1,
    ),
]

PENALTIES = [
    penalty.Sum(),
    penalty.L2(0.3),
    penalty.L2(0.3, on=("weight", "bias")),
    penalty.L1(0.3),
    penalty.L1(0.3, on=("affine2",)),
    penalty.ElasticNet(0.3, 0.2),
    penalty.Linf(0.3),
    penalty.LogSumExp(0.3),
    penalty.GroupLasso(0.3),
    penalty.GroupLasso(0.3, by="outputs"),
    penalty.Orthogonality(0.3),
    penalty.Tie("affine1/weight", "affine3/weight", 0.3),
    penalty.Tie("affine1/weight", "affine2/weight", 0.3, transposed=True),
    penalty.MaxNorm(0.8),
    penalty.Proximal(penalty.L1(0.3)),
    penalty.Sum((penalty.L2(0.1), penalty.L1(0.2, on=("bias",)), penalty.MaxNorm(2.0))),
]


def parameters(seed: int = 0, dtype: Any = np.float64) -> dict[str, dict[str, Any]]:
    """Random parameters of three affine maps, 4-3-4-3, which all penalties here suit."""
    rng = np.random.default_rng(seed)
    shapes = {"affine1": (4, 3), "affine2": (3, 4), "affine3": (4, 3)}
    return {
        name: {
            "weight": rng.standard_normal(shape).astype(dtype),
            "bias": rng.standard_normal(shape[1]).astype(dtype),
        }
        for name, shape in shapes.items()
    }


INITIALIZERS = [
    initializer.Zeros(),
    initializer.Constant(0.01),
    initializer.Normal(0.01),
    initializer.Uniform(0.05),
    initializer.FanInUniform(),
    initializer.Glorot(),
    initializer.Glorot("normal"),
    initializer.He(),
    initializer.He("uniform"),
    initializer.LeCun(),
    initializer.LeCun("uniform"),
    initializer.Orthogonal(),
    initializer.Sparse(),
]
