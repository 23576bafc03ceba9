"""scikit-learn."""

from __future__ import annotations

import warnings

import numpy as np

from .core import Contender


class ScikitLearn(Contender):
    """scikit-learn's MLPClassifier. It has no SELU and no network without biases."""

    name, package = "scikit-learn", "sklearn"

    @classmethod
    def lacks(cls, work):  # noqa: D102
        return "no normalisation and no dropout" if work.norm or work.dropout else None

    def __init__(self, work, x, labels):
        """Import the library."""
        super().__init__(work, x, labels)
        import sklearn
        from sklearn.neural_network import MLPClassifier

        self.version, self.estimator = sklearn.__version__, MLPClassifier

    def about(self):  # noqa: D102
        from threadpoolctl import threadpool_info

        pools = {pool["internal_api"]: pool["num_threads"] for pool in threadpool_info()}
        threads = ", ".join(f"{count} {api} threads" for api, count in pools.items())
        lacks = [] if self.work.activation == "relu" else ["relu for " + self.work.activation]
        lacks += [] if self.work.bias else ["with biases"]
        return ", ".join([f"scikit-learn {self.version}, {threads}", *lacks])

    def _new(self):
        work = self.work
        return self.estimator(
            work.hidden,
            activation="relu",
            solver="sgd",
            alpha=work.l2 * work.batch,  # it divides its penalty by the size of the batch
            batch_size=work.batch,  # pyright: ignore[reportArgumentType] -- its default is a word
            learning_rate_init=work.learning_rate,
            momentum=0,
            max_iter=max(1, work.fit_epochs),
            n_iter_no_change=work.fit_epochs + 1,  # never stop early
            tol=0,
            random_state=0,
        )

    def train(self, epochs, pause):  # noqa: D102
        self.model = self._new()
        classes = np.arange(self.classes)
        for _ in range(epochs):
            self.model.partial_fit(self.x, self.labels, classes=classes)
            pause()

    def fit(self):  # noqa: D102
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # it says that it did not converge, as was asked
            self.model = self._new().fit(self.x, self.labels)

    def predict(self, x):  # noqa: D102
        return np.asarray(self.model.predict(x))
