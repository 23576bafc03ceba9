"""Federated averaging in Flower's simulation, for `benchmarks.network`; it needs nothing of ours.

Run with one argument, the work as JSON. It takes a round for each line that comes in, and answers
with its seconds. An actor keeps the data and the network of its clients between rounds.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch  # pyright: ignore[reportMissingImports]
from flwr.app import (  # pyright: ignore[reportMissingImports]
    ArrayRecord,
    ConfigRecord,
    Message,
    MetricRecord,
    RecordDict,
)
from flwr.clientapp import ClientApp  # pyright: ignore[reportMissingImports]
from flwr.serverapp import ServerApp  # pyright: ignore[reportMissingImports]
from flwr.serverapp.strategy import FedAvg  # pyright: ignore[reportMissingImports]
from flwr.simulation import run_simulation  # pyright: ignore[reportMissingImports]

CLIENT = ClientApp()
KEPT: dict[Any, Any] = {}


def network(work: dict) -> torch.nn.Module:
    """Return the network with fresh weights."""
    activation = {"relu": torch.nn.ReLU, "selu": torch.nn.SELU}[work["activation"]]
    layers, d = [], 784
    for width in work["hidden"]:
        layers += [torch.nn.Linear(d, width, bias=work["bias"]), activation()]
        d = width
    return torch.nn.Sequential(*layers, torch.nn.Linear(d, 10, bias=work["bias"]))


def part(work: dict, number: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the examples of a client."""
    folder, rows = Path(work["folder"]), slice(*(work["examples"] * (number + i) for i in (0, 1)))
    x, labels = np.load(folder / "x.npy", mmap_mode="r"), np.load(folder / "labels.npy")
    return torch.from_numpy(x[rows].copy()), torch.from_numpy(labels[rows])


@CLIENT.train()
def train(message, context):
    """Train for an epoch on the client's own part."""
    work, number = (
        json.loads(message.content["config"]["work"]),
        context.node_config["partition-id"],
    )
    if "network" not in KEPT:
        torch.set_num_threads(threads(work))
        KEPT["network"] = network(work)
    if number not in KEPT:
        KEPT[number] = part(work, number)
    model, (x, labels) = KEPT["network"], KEPT[number]
    model.load_state_dict(message.content["arrays"].to_torch_state_dict())
    rule = torch.optim.SGD(model.parameters(), work["learning_rate"], fused=True)
    total, batches = torch.zeros(()), torch.randperm(len(x)).split(work["batch"])
    for chosen in batches:
        rule.zero_grad(set_to_none=True)
        y = model(x.index_select(0, chosen))
        loss = torch.nn.functional.cross_entropy(y, labels.index_select(0, chosen))
        loss.backward()
        rule.step()
        total += loss.detach()
    told = {"loss": float(total) / len(batches), "num-examples": len(x)}
    content = {"arrays": ArrayRecord(model.state_dict()), "metrics": MetricRecord(told)}
    return Message(content=RecordDict(content), reply_to=message)


class Timed(FedAvg):
    """Federated averaging that waits for a line before each round, and tells its seconds."""

    def __init__(self, answers, **kwargs):
        """Answers go to a file."""
        super().__init__(**kwargs)
        self.answers = answers

    def configure_train(self, *args):
        """Wait, and begin."""
        sys.stdin.readline()
        self.began = time.perf_counter()
        return super().configure_train(*args)

    def aggregate_train(self, server_round, replies):
        """Take the mean, and tell."""
        replies = list(replies)
        for each in replies:
            if each.has_error():
                raise RuntimeError(f"a client failed: {each.error.reason}")
        arrays, metrics = super().aggregate_train(server_round, replies)
        told = {"seconds": time.perf_counter() - self.began, "loss": metrics["loss"]}
        print(json.dumps(told), file=self.answers, flush=True)
        return arrays, metrics


def threads(work: dict) -> int:
    """How many processors a client has."""
    return work["processors"] // work["at_once"] or 1


def main() -> None:
    """Take the rounds."""
    # What Flower and Ray print to the output goes to the errors; the output is for answers.
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    work = json.loads(sys.argv[1])
    torch.manual_seed(0)
    server = ServerApp()

    @server.main()
    def run(grid, context):
        Timed(answers, fraction_train=work["share"], fraction_evaluate=0.0).start(
            grid=grid,
            initial_arrays=ArrayRecord(network(work).state_dict()),
            num_rounds=work["rounds"],
            train_config=ConfigRecord({"work": json.dumps(work)}),
        )

    backend = {
        "client_resources": {"num_cpus": threads(work)},
        "init_args": {"num_cpus": work["processors"], "include_dashboard": False},
    }
    run_simulation(server, CLIENT, work["clients"], backend_config=backend)


if __name__ == "__main__":
    # As a module of its own, whose functions the actors import: so what they keep is kept.
    import flower_rounds

    flower_rounds.main()
