"""This library."""

from __future__ import annotations

from typing import Any

import numpy as np

from .core import Contender, processors


class Pullback(Contender):
    """This library, by the path that every run takes: `Batches` and `fit`."""

    name = package = "pullback"

    def __init__(self, work, x, labels):
        """Import the library, hold the inputs as an experiment does, and build the network."""
        from pullback.data import packed
        from pullback.data.aligned import aligned

        x = packed(x)
        super().__init__(work, aligned(x) if isinstance(x, np.ndarray) else x, labels)
        from pullback.initializer import FanInUniform
        from pullback.loss import SoftmaxCrossEntropy
        from pullback.maps import Affine, BatchNorm, Dropout, Relu, Selu, chain
        from pullback.optim import SGD
        from pullback.penalty import L2, Sum
        from pullback.train import Task

        activation = {"relu": Relu, "selu": Selu}[work.activation]
        widths = (*work.hidden, self.classes)
        # The distribution with which PyTorch begins, so that both travel the same road.
        affine = [Affine(width, work.bias, FanInUniform()) for width in widths]
        after = (
            *([BatchNorm()] if work.norm else []),
            activation(),
            *([Dropout(work.dropout)] if work.dropout else []),
        )
        hidden = [m for each in affine[:-1] for m in (each, *after)]
        self.task = Task(
            chain(*hidden, affine[-1]),
            SoftmaxCrossEntropy(),
            SGD(work.learning_rate),
            Sum((L2(work.l2),) if work.l2 else ()),
            products=work.products,
        )

    def about(self):  # noqa: D102
        import jax

        import pullback

        device = jax.devices()[0]
        where = f"{processors()} XLA threads" if device.platform == "cpu" else device.device_kind
        return f"pullback {pullback.__version__}, jax {jax.__version__}, {where}"

    def train(self, epochs, pause):  # noqa: D102
        from pullback.data import Batches
        from pullback.train import Plan, fit

        x, limit = self._inputs()
        batches = Batches(x, self.one_hot(), None, self.work.batch, seed=0, limit_bytes=limit)
        plan = Plan(epochs, evaluate_epochs=0, watch_epochs=0, record_steps=0, checkpoint_epochs=0)
        self.learner, _ = fit(self.task, batches, plan, at_epoch=lambda *_: pause())

    def _inputs(self) -> tuple[Any, float]:
        """The inputs, and how many bytes of them may stay in memory."""
        return self.x, float("inf")

    def predict(self, x):  # noqa: D102
        from pullback.train import predictions

        return predictions(self.task, self.learner.params, self.learner.state, x).argmax(axis=1)
