"""The grid of IFT6390 homework 3, §3.3: sixteen small networks on the circles.

Hidden units 5 or 100, learning rate 0.05 or 0.005, L1 and L2 of strength 0 or 0.01, trained for 100
epochs and read at 25. Pullback trains those of one width as one program.
"""

from __future__ import annotations

import warnings
from itertools import product

from .contenders import Pullback, ScikitLearn

HIDDEN, RATES, STRENGTHS, READ_AT = (5, 100), (0.05, 0.005), (0.0, 0.01), 25


class PullbackGrid(Pullback):
    """Two compiled programs, eight trials in each."""

    def fit(self):  # noqa: D102
        from pullback.data import Batches
        from pullback.initializer import FanInUniform
        from pullback.loss import SoftmaxCrossEntropy
        from pullback.maps import Affine, Relu, chain
        from pullback.optim import SGD
        from pullback.penalty import L1, L2, Sum
        from pullback.train import Task
        from pullback.tune import Together, Trial, groups

        x, limit = self._inputs()
        batches = Batches(x, self.one_hot(), None, self.work.batch, seed=0, limit_bytes=limit)

        def trial(hidden, rate, l1, l2):
            net = chain(Affine(hidden, True, FanInUniform()), Relu(), Affine(2, True))
            penalty = Sum((L1(l1), L2(l2)))
            task = Task(net, SoftmaxCrossEntropy(), SGD(rate), penalty)
            return Trial(task, batches, {"train": batches}, epochs=self.work.fit_epochs)

        trials = [trial(*setting) for setting in product(HIDDEN, RATES, STRENGTHS, STRENGTHS)]
        self.rows = {}
        for members in groups(trials):
            together = Together([trials[i] for i in members])
            for epoch in (READ_AT, self.work.fit_epochs):
                rows = together.advance(epoch * together.steps_per_epoch)
                self.rows |= {(i, epoch): row for i, row in zip(members, rows, strict=True)}
            # The first of the wide ones, with the larger rate and no penalty, stands for all.
            self.task, self.learner = trials[members[0]].task, together.learner(0)


class ScikitLearnGrid(ScikitLearn):
    """Sixteen fits, one after another. There is no L1: those run with L2 alone, which is less."""

    def fit(self):  # noqa: D102
        from sklearn.neural_network import MLPClassifier

        work = self.work
        for hidden, rate, _, l2 in product(HIDDEN, RATES, STRENGTHS, STRENGTHS):
            model = MLPClassifier(
                (hidden,),
                solver="sgd",
                alpha=l2 * work.batch,
                batch_size=work.batch,  # pyright: ignore[reportArgumentType]
                learning_rate_init=rate,
                momentum=0,
                max_iter=work.fit_epochs,
                n_iter_no_change=work.fit_epochs + 1,
                tol=0,
                random_state=0,
            )
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                model.fit(self.x, self.labels)
            if (hidden, rate, l2) == (HIDDEN[-1], RATES[0], STRENGTHS[0]):
                self.model = model


CONTENDERS = (PullbackGrid, ScikitLearnGrid)
