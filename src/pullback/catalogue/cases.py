"""The cases on which losses, penalties and initialisers are tried: complete by test."""

from __future__ import annotations

from .. import initializer, loss, penalty

LOSSES = [loss.SquaredError(), loss.SoftmaxCrossEntropy(), loss.SigmoidCrossEntropy()]

PENALTIES = [
    penalty.Sum(),
    penalty.L2(0.3),
    penalty.L2(0.3, on=("weight", "bias")),
    penalty.Sum((penalty.L2(0.1), penalty.L2(0.2, on=("bias",)))),
]

INITIALIZERS = [
    initializer.FanInUniform(),
    initializer.Glorot(),
    initializer.He(),
    initializer.LeCun(),
    initializer.Normal(0.02),
]
