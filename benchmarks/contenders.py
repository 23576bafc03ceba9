"""Who is timed: one small class per library, each doing the same work in its own best way.

A contender lives alone in a process of its own, so that thread pools do not fight, and imports its
library only when it is made. Those of PEERS compute on the processor, those of GPU_PEERS on a GPU.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable
from itertools import pairwise

import numpy as np

from .workloads import Workload

Pause = Callable[[], None]


class Contender:
    """A library at work on one workload.

    Args:
        work: the workload.
        x: inputs (n, d), float32.
        labels: class indices (n,).
    """

    name: str
    package: str

    def __init__(self, work: Workload, x: np.ndarray, labels: np.ndarray):
        """Keep the work; a subclass imports its library."""
        self.work, self.x, self.labels = work, x, labels
        self.classes = int(labels.max()) + 1

    def about(self) -> str:
        """Return version, threads and what differs from the workload."""
        raise NotImplementedError

    def train(self, epochs: int, pause: Pause) -> None:
        """Train from fresh weights, without evaluation; pause after each epoch's last step."""
        raise NotImplementedError

    def fit(self) -> None:
        """Train from fresh weights for the workload's whole fit."""
        self.train(self.work.fit_epochs, lambda: None)

    def predict(self, x: np.ndarray) -> np.ndarray:
        """Return the class of each row."""
        raise NotImplementedError


class Pullback(Contender):
    """This library, by the path that every run takes: `Batches` and `fit`."""

    name = package = "pullback"

    def __init__(self, work, x, labels):
        """Import the library and build the network."""
        super().__init__(work, x, labels)
        from pullback.initializer import FanInUniform
        from pullback.loss import SoftmaxCrossEntropy
        from pullback.maps import Affine, Relu, Selu, chain
        from pullback.optim import SGD
        from pullback.penalty import L2, Sum
        from pullback.train import Task

        activation = {"relu": Relu, "selu": Selu}[work.activation]
        widths = (*work.hidden, self.classes)
        # The distribution with which PyTorch begins, so that both travel the same road.
        affine = [Affine(width, work.bias, FanInUniform()) for width in widths]
        hidden = [m for each in affine[:-1] for m in (each, activation())]
        net = chain(*hidden, affine[-1])
        penalty = Sum((L2(work.l2),))
        self.task = Task(net, SoftmaxCrossEntropy(), SGD(work.learning_rate), penalty)

    def about(self):  # noqa: D102
        import jax

        import pullback

        device = jax.devices()[0]
        where = f"{processors()} XLA threads" if device.platform == "cpu" else device.device_kind
        return f"pullback {pullback.__version__}, jax {jax.__version__}, {where}"

    def train(self, epochs, pause):  # noqa: D102
        from pullback.data import Batches
        from pullback.train import Plan, fit

        one_hot = np.zeros((len(self.x), self.classes), np.float32)
        one_hot[np.arange(len(self.x)), self.labels] = 1
        limit = float("inf")
        batches = Batches(self.x, one_hot, None, self.work.batch, seed=0, limit_bytes=limit)
        plan = Plan(epochs, evaluate_epochs=0, watch_epochs=0, record_steps=0, checkpoint_epochs=0)
        self.learner, _ = fit(self.task, batches, plan, at_epoch=lambda *_: pause())

    def predict(self, x):  # noqa: D102
        from pullback.train import predictions

        return predictions(self.task, self.learner.params, self.learner.state, x).argmax(axis=1)


class Torch(Contender):
    """PyTorch without its compiler: tensors resident, one index_select per batch."""

    name, package = "torch eager", "torch"
    fused = False
    device = "cpu"

    def __init__(self, work, x, labels):
        """Import the library."""
        super().__init__(work, x, labels)
        import torch

        self.torch = torch

    def about(self):  # noqa: D102
        return f"torch {self.torch.__version__}, {self.torch.get_num_threads()} threads"

    def _network(self):
        nn = self.torch.nn
        activation = {"relu": nn.ReLU, "selu": nn.SELU}[self.work.activation]
        widths = (self.x.shape[1], *self.work.hidden, self.classes)
        layers = []
        for d_in, d_out in pairwise(widths):
            layers += [nn.Linear(d_in, d_out, bias=self.work.bias), activation()]
        return nn.Sequential(*layers[:-1]).to(self.device)

    def _step(self, x, labels) -> Callable:
        """Make a network, and return what takes a step on the rows that it is given."""
        self.net, loss, work = self._network(), self.torch.nn.CrossEntropyLoss(), self.work
        rule = self.torch.optim.SGD(
            self.net.parameters(), work.learning_rate, weight_decay=work.l2, fused=self.fused
        )

        def step(rows):
            rule.zero_grad(set_to_none=True)
            loss(self.net(x.index_select(0, rows)), labels.index_select(0, rows)).backward()
            rule.step()

        return step

    def train(self, epochs, pause):  # noqa: D102
        torch = self.torch
        torch.manual_seed(0)
        x = torch.from_numpy(self.x).to(self.device)
        labels = torch.from_numpy(self.labels).to(self.device)
        step = self._step(x, labels)
        for _ in range(epochs):
            for rows in torch.randperm(len(x), device=self.device).split(self.work.batch):
                step(rows)
            if self.device == "cuda":
                torch.cuda.synchronize()
            pause()

    def predict(self, x):  # noqa: D102
        with self.torch.no_grad():
            z = self.net(self.torch.from_numpy(x).to(self.device))
            return z.argmax(dim=1).cpu().numpy()


class TorchFused(Torch):
    """PyTorch with its fused SGD, the fastest it has for this work."""

    name = "torch fused"
    fused = True


class TorchCuda(TorchFused):
    """The same on a GPU, each kernel started from Python."""

    name = "torch cuda"
    device = "cuda"

    def __init__(self, work, x, labels):
        """Import the library, with products as exact as ours are asked to be."""
        super().__init__(work, x, labels)
        rounded = os.environ.get("JAX_DEFAULT_MATMUL_PRECISION") == "tensorfloat32"
        self.torch.set_float32_matmul_precision("high" if rounded else "highest")

    def about(self):  # noqa: D102
        return f"torch {self.torch.__version__}, {self.torch.cuda.get_device_name()}"


class TorchCompiled(TorchCuda):
    """The compiler of PyTorch, in its mode for small steps: graphs of forward and of reverse."""

    name = "torch compile"

    def _network(self):
        return self.torch.compile(super()._network(), mode="reduce-overhead")


class TorchGraph(TorchCuda):
    """A whole step as one CUDA graph: the least that PyTorch can spend on starting kernels."""

    name = "torch graph"

    def _step(self, x, labels):
        torch, eager = self.torch, super()._step(x, labels)
        index = torch.zeros(self.work.batch, dtype=torch.int64, device="cuda")
        # Recording wants a few steps beforehand, on another stream.
        aside = torch.cuda.Stream()
        aside.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(aside):
            for _ in range(3):
                eager(index)
        torch.cuda.current_stream().wait_stream(aside)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            eager(index)

        def step(rows):
            if len(rows) < len(index):
                eager(rows)
            else:
                index.copy_(rows)
                graph.replay()

        return step


class ScikitLearn(Contender):
    """scikit-learn's MLPClassifier. It has no SELU and no network without biases."""

    name, package = "scikit-learn", "sklearn"

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


PEERS = (ScikitLearn, Torch, TorchFused)
GPU_PEERS = (TorchCuda, TorchCompiled, TorchGraph)


def processors() -> int:
    """Return how many processors this process may use; XLA makes a thread for each."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
