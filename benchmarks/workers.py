"""Six workers on parts of their own, averaged after each epoch: a round of exercise 6d of CA6.

What is timed as an epoch is a round: every worker's epoch over its sixth of the examples, and the
mean of the models that all go on from. Flower, which wants an environment of its own, is compared
by `benchmarks.network`.
"""

from __future__ import annotations

import os

import numpy as np

from .contenders import Pullback, TorchFused, processors

WORKERS = 6


class PullbackWorkers(Pullback):
    """`Simulation` of a star whose master is one of the workers, dealt to the processors."""

    def __init__(self, work, x, labels):
        """Make a device of each processor, and build the network."""
        self.devices = processors() if WORKERS % processors() == 0 else 1
        split = f"--xla_force_host_platform_device_count={self.devices}"
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {split}"
        super().__init__(work, x, labels)

    def train(self, epochs, pause):  # noqa: D102
        from pullback.peers import FedAvg, Local, Simulation, Star
        from pullback.train import Batch

        x, _ = self._inputs()
        simulation = Simulation(
            self.task,
            FedAvg(),
            Star(WORKERS).schedule(),
            Batch(x, self.one_hot(), np.ones(len(self.x), np.float32)),
            np.array_split(np.arange(len(self.x)), WORKERS),
            local=Local(1, "epoch", self.work.batch),
            how="map",
            devices=self.devices,
            block=1,
        )
        for _ in range(epochs):
            simulation.run(1)
            pause()
        self.learner = simulation.learner()


class TorchWorkers(TorchFused):
    """PyTorch: a network and a fused SGD for each worker, which take turns."""

    def train(self, epochs, pause):  # noqa: D102
        torch = self.torch
        torch.manual_seed(0)
        steps, nets, sizes = [], [], []
        for part in np.array_split(np.arange(len(self.x)), WORKERS):
            x, labels = torch.from_numpy(self.x[part]), torch.from_numpy(self.labels[part])
            steps.append(self._step(x, labels))
            nets.append(self.net)
            sizes.append(len(part))
        for net in nets[1:]:
            net.load_state_dict(nets[0].state_dict())
        for _ in range(epochs):
            for step, size in zip(steps, sizes, strict=True):
                for rows in torch.randperm(size).split(self.work.batch):
                    step(rows)
            with torch.no_grad():
                for each in zip(*(net.parameters() for net in nets), strict=True):
                    mean = torch.stack(each).mean(dim=0)
                    for parameter in each:
                        parameter.copy_(mean)
            pause()


CONTENDERS = (PullbackWorkers, TorchWorkers)
