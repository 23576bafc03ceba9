"""What is timed: a table of workloads, each one network on one data set."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Workload:
    """A classifier under plain SGD and softmax cross-entropy, the same for every contender.

    Args:
        name: as given to ``--only``.
        data: "mnist", "digits", "iris", "circles", or "table": drawn, 54 numbers a row, 7 classes.
        hidden: the widths of the hidden layers.
        batch: examples per step.
        learning_rate: the step size.
        l2: the L2 penalty, λ/2 Σ w², whatever the batch size.
        activation: "selu" or "relu", after each hidden layer.
        bias: whether layers have biases.
        norm: whether batch normalisation follows each hidden layer's product.
        dropout: the probability with which hidden outputs are dropped.
        products: "full", or "bfloat16" for factors rounded so, for those who can.
        examples: how many of the data are used at most.
        fit_epochs: 0 times one warm epoch of a long training; otherwise whole fits of so many
            epochs are timed, cold and warm.
    """

    name: str
    data: str
    hidden: tuple[int, ...]
    batch: int
    learning_rate: float
    l2: float
    activation: str = "relu"
    bias: bool = True
    norm: bool = False
    dropout: float = 0.0
    products: Literal["full", "bfloat16"] = "full"
    examples: int = 60_000
    fit_epochs: int = 0

    def __str__(self) -> str:
        """Return the set-up in words."""
        bias = "" if self.bias else ", no bias"
        span = f", {self.fit_epochs} epochs" if self.fit_epochs else ""
        hidden = "-".join(map(str, self.hidden))
        more = ", batch normalisation" if self.norm else ""
        more += f", dropout {self.dropout:g}" if self.dropout else ""
        layers = f"hidden {hidden} {self.activation}{bias}{more}"
        return f"{self.data}, {layers}, batch {self.batch}{span}, {self.products} products"

    def quick(self) -> Workload:
        """Return the same work on a tenth of the examples where an epoch is timed."""
        return self if self.fit_epochs else replace(self, examples=self.examples // 10)


_WIDE = Workload("wide-100", "mnist", (500,) * 4, 100, 0.0275, 0.001, activation="selu", bias=False)

WORKLOADS = (
    _WIDE,
    # At 0.0275 single examples make it diverge within a few epochs.
    replace(_WIDE, name="wide-1", batch=1, learning_rate=0.00275, examples=5_000),
    replace(_WIDE, name="wide-1000", batch=1000),
    replace(_WIDE, name="norm-100", activation="relu", bias=True, norm=True),
    replace(_WIDE, name="dropout-100", activation="relu", bias=True, dropout=0.5),
    # The same as wide-100 out of a file; see `benchmarks.streamed`.
    replace(_WIDE, name="streamed-100"),
    # Six of these networks, averaged after each epoch; see `benchmarks.workers`.
    Workload("workers-100", "mnist", (1000, 1000), 100, 0.02, 0.0, activation="selu", bias=False),
    Workload("tapered-100", "mnist", (2500, 2000, 1500, 1000, 500), 100, 0.05, 0.0),
    Workload("narrow-256", "mnist", (50,), 256, 0.1, 0.001),
    Workload("table-1000", "table", (100,), 1000, 0.1, 0.0001, examples=500_000),
    Workload("digits", "digits", (100,), 200, 0.1, 0.0001, fit_epochs=50),
    Workload("iris", "iris", (10,), 50, 0.1, 0.0001, fit_epochs=100),
    # Sixteen fits, of which this is the one that is judged; see `benchmarks.grid`.
    Workload("grid", "circles", (100,), 10, 0.05, 0.0, examples=1_100, fit_epochs=100),
)


def load(work: Workload, mnist_at: Path | None) -> tuple[np.ndarray, np.ndarray]:
    """Return inputs and class indices.

    Without a directory, MNIST is replaced by `stand_in`.

    Shapes: x (n, d) float32; labels (n,) int64

    Raises:
        DataError: the directory does not hold MNIST.
    """
    x, labels = _read(work, mnist_at)
    return x[: work.examples].astype(np.float32), labels[: work.examples].astype(np.int64)


def _read(work: Workload, mnist_at: Path | None) -> tuple[np.ndarray, np.ndarray]:
    if work.data == "mnist" and mnist_at is None:
        return stand_in(work.examples, 784, 10)
    if work.data == "mnist":
        from pullback.data import data_directory, mnist

        train, _ = mnist(data_directory(mnist_at))
        return train.x[:], train.y
    if work.data == "table":
        return stand_in(work.examples, 54, 7)
    if work.data == "circles":
        from pullback.data.generated import circles

        drawn = circles(work.examples)
        return drawn.x[:], drawn.y
    from sklearn import datasets

    if work.data == "digits":
        x, labels = datasets.load_digits(return_X_y=True)
        return x / 16, labels
    x, labels = datasets.load_iris(return_X_y=True)
    return (x - x.mean(axis=0)) / x.std(axis=0), labels


def stand_in(n: int, d: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw inputs of MNIST's shape and sparsity, labelled by a random linear teacher.

    So there is something to learn, and a contender that does not train is seen.
    """
    random = np.random.default_rng(0)
    x = random.random((n, d), np.float32) * (random.random((n, d), np.float32) < 0.2)
    teacher = random.normal(size=(d, classes)).astype(np.float32)
    return x, np.argmax((x - x.mean(axis=0)) @ teacher, axis=1)
