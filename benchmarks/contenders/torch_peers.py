"""PyTorch, in each of its ways: on the processor, and on a GPU."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from itertools import pairwise

from .core import Contender


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
            layers += [nn.Linear(d_in, d_out, bias=self.work.bias)]
            layers += [nn.BatchNorm1d(d_out)] if self.work.norm else []
            layers += [activation()]
            layers += [nn.Dropout(self.work.dropout)] if self.work.dropout else []
        last = max(i for i, layer in enumerate(layers) if isinstance(layer, nn.Linear))
        return nn.Sequential(*layers[: last + 1]).to(self.device)

    def _step(self, x, labels) -> Callable:
        """Make a network, and return what takes a step on the rows that it is given."""
        net, loss, work = self._network(), self.torch.nn.CrossEntropyLoss(), self.work
        self.net = net
        rule = self.torch.optim.SGD(
            net.parameters(), work.learning_rate, weight_decay=work.l2, fused=self.fused
        )

        rounds = work.products == "bfloat16"

        def step(rows):
            rule.zero_grad(set_to_none=True)
            with self.torch.autocast(self.device, self.torch.bfloat16, enabled=rounds):
                value = loss(net(x.index_select(0, rows)), labels.index_select(0, rows))
            value.backward()
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
        self.net.eval()
        with self.torch.no_grad():
            z = self.net(self.torch.from_numpy(x).to(self.device))
            return z.argmax(dim=1).cpu().numpy()


class TorchFused(Torch):
    """PyTorch with its fused SGD, the fastest it has for this work."""

    name = "torch fused"
    fused = True


class TorchInductor(TorchFused):
    """Its compiler on the processor, which wants one for C++."""

    name = "torch inductor"

    @classmethod
    def lacks(cls, work):  # noqa: D102
        return None if shutil.which("g++") or shutil.which("clang++") else "no compiler for C++"

    def _network(self):
        return self.torch.compile(super()._network())


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
