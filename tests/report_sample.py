"""Folders of runs that never ran, with the rows of a trainer, to test the report."""

import math
from itertools import pairwise
from pathlib import Path

import numpy as np

from pullback.files import write_json, write_text
from pullback.record import Record

HOSTILE = "<script>alert('x')</script>"

_CONFIG = """\
[run]
name = "{name}"
seed = 0

[data]
name = "{data}"
batch_size = 32

[train]
epochs = {epochs}
learning_rate = {rate}
"""

_META = {
    "versions": {"pullback": "0.1.0", "python": "3.11.9", "numpy": "2.4.6", "jax": "0.10.1"},
    "device": "cpu",
    "seed": 0,
    "data": {"sha256": "9f2c" * 16},
    "argv": ["pullback", "train", "digits.toml"],
}


class Sample:
    """Writes one folder, row by row."""

    def __init__(self, folder: Path, *, data: str, epochs: int, rate: float = 0.1):
        folder.mkdir(parents=True)
        self.folder, self.epochs = folder, epochs
        self.rng = np.random.default_rng(7)
        text = _CONFIG.format(name=folder.name, data=data, epochs=epochs, rate=rate)
        write_text(folder / "config.toml", text)
        write_json(folder / "meta.json", _META)
        self.metrics = Record(folder / "metrics.jsonl")
        self.last: dict = {}

    def network(self, layers, input, loss, penalty="L2(0.001)", shared="shared"):
        """Write the row of a network given as (name, map, reads, shape, parameters, text).

        Layers whose name ends in `shared` share the parameters of the first of them.
        """
        owner = next((layer[0] for layer in layers if layer[0].endswith(shared)), "")
        rows = [
            {
                "name": name,
                "owner": owner if name.endswith(shared) else name,
                "map": map,
                "reads": list(reads),
                "shape": list(shape),
                "parameters": parameters,
                "bytes": 4 * parameters,
                "saved_bytes": 128 * math.prod(shape),
                "text": text,
            }
            for name, map, reads, shape, parameters, text in layers
        ]
        total = sum(row["parameters"] for row in rows if row["owner"] == row["name"])
        about = {"loss": loss, "penalty": penalty, "rule": "SGD(learning_rate=0.1)"}
        self.metrics.add(
            "network", layers=rows, input=list(input), parameters=total, bytes=4 * total, **about
        )
        held = [row["owner"] for row in rows if row["parameters"]]
        self.weighted = list(dict.fromkeys(held))

    def chain(self, widths, activation="Relu", loss="SoftmaxCrossEntropy()"):
        """Write a chain of affine maps with an activation between them."""
        layers, reads = [], "x"
        for n, (wide, narrow) in enumerate(pairwise(widths), start=1):
            size = wide * narrow + narrow
            text = f"Affine(width={narrow})"
            layers.append((f"affine{n}", "Affine", [reads], [narrow], size, text))
            reads = f"affine{n}"
            if n < len(widths) - 1:
                name = f"{activation.lower()}{n}"
                layers.append((name, activation, [reads], [narrow], 0, f"{activation}()"))
                reads = name
        self.network(layers, [widths[0]], loss)

    def data(self, name, classes=None, features=None, image=None):
        """Write the row of the data."""
        sizes = {"train": 1077, "validation": 360, "test": 360}
        about = {"classes": classes, "features": features, "image": image}
        self.metrics.add("data", name=name, **about, **sizes, standardize=False)

    def check(self, ok=True):
        """Write a gradient check; a failed one is wrong in its last block."""
        blocks, directions = [], []
        for name in [f"{layer}/{leaf}" for layer in self.weighted for leaf in ("weight", "bias")]:
            right = ok or name != f"{self.weighted[-1]}/bias"
            numeric = self.rng.normal(size=20) * 10.0 ** self.rng.uniform(-6, -1, size=20)
            error = 1e-10 if right else 0.3
            analytic = numeric * (1 + error * self.rng.normal(size=20))
            numeric[0], analytic[0] = 0.0, 0.0
            pairs = [
                {"index": [n, 3], "analytic": a, "numeric": b}
                for n, (a, b) in enumerate(zip(analytic.tolist(), numeric.tolist(), strict=True))
            ]
            errors = {"error": error, "along_error": error / 2}
            blocks.append({"name": name, **errors, "ok": right, "entries": pairs})
            slope = 0.1 * float(self.rng.normal())
            direction = {"name": name, "analytic": slope, "numeric": slope * (1 + error)}
            directions.append(direction)
        worst = max(block["error"] for block in blocks)
        about = {"ok": ok, "threshold": 1e-7, "worst": worst, "examples": 16}
        self.metrics.add("check", **about, blocks=blocks, directions=directions)

    def train(self, outputs, *, metric="accuracy", steps=34, per_epoch=1, until=None):
        """Write the rows of training; the loss falls as 1/epoch, and validation turns up again."""
        self._evaluate(0, 0, outputs, metric)
        self._weights(0, 0)
        for epoch in range(1, (until or self.epochs) + 1):
            for step in range(1, steps + 1):
                done = epoch - 1 + step / steps
                loss = self._loss(done) * (1 + 0.3 * abs(float(self.rng.normal())))
                parts = self._parts(loss, outputs)
                count = (epoch - 1) * steps + step
                self.metrics.add("step", epoch=epoch, step=count, loss=loss, outputs=parts)
                if step % (steps // per_epoch) == 0:
                    at = epoch if step == steps else round(done, 4)
                    self._evaluate(at, count, outputs, metric)
            self._layers(epoch, epoch * steps)
            if epoch in (1, 5, self.epochs // 2, self.epochs):
                self._weights(epoch, epoch * steps)

    @staticmethod
    def _loss(done):
        return 2.3 / (1 + done) + 0.02

    def _parts(self, loss, outputs):
        share = self.rng.dirichlet(np.full(outputs, 30.0))
        return (loss * share).tolist()

    def _evaluate(self, epoch, step, outputs, metric):
        row = {}
        for part, gap in (("train", 0.0), ("validation", 0.05), ("test", 0.06)):
            overfit = gap * (1 + (epoch / self.epochs) ** 2)
            loss = self._loss(epoch) + overfit + 0.01 * abs(float(self.rng.normal()))
            row[part] = {"loss": loss, "outputs": self._parts(loss, outputs)}
            row[part][metric] = max(0.0, 1 - 0.4 * loss)
        self.last = {"epoch": epoch, "step": step, "penalty": 0.01, **row}
        self.metrics.add("evaluation", **self.last)

    def _layers(self, epoch, step):
        rows = {}
        for depth, name in enumerate(self.weighted):
            delta = 0.3 ** (len(self.weighted) - depth) / math.sqrt(epoch)
            noise = 1 + 0.2 * float(self.rng.random())
            gradient, weight = 2 * delta * noise, 10 + 0.1 * epoch
            update = 0.1 * gradient
            norms = {"delta": delta, "gradient": gradient, "weight": weight, "update": update}
            rows[name] = norms | {"ratio": update / weight}
        self.metrics.add("layers", epoch=epoch, step=step, layers=rows)

    def _weights(self, epoch, step):
        rows = {}
        for depth, name in enumerate(self.weighted):
            spread = 0.05 * (1 + depth) * (1 + epoch / self.epochs)
            counts, edges = np.histogram(self.rng.normal(0, spread, size=2000), bins=40)
            rows[f"{name}/weight"] = {"edges": edges, "counts": counts}
        self.metrics.add("weights", epoch=epoch, step=step, layers=rows)

    def confusion(self, classes):
        """Write a confusion matrix that is mostly right."""
        counts = self.rng.integers(0, 2, size=(classes, classes)) + 34 * np.eye(classes, dtype=int)
        self.metrics.add("confusion", part="test", counts=counts)

    def wrong(self, classes, n=30, pixels=None, features=None):
        """Write the worst examples, as pictures of the given (height, width) or as features."""
        examples = []
        for rank in range(n):
            true = int(self.rng.integers(classes))
            other = (true + 1 + int(self.rng.integers(max(classes - 1, 1)))) % classes
            row = {"index": 10 + rank, "true": true, "predicted": other, "loss": 4.0 / (1 + rank)}
            row |= {"probability": 0.001 + 0.01 * rank, "pixels": None, "features": None}
            if pixels:
                row["pixels"] = self._scribble(*pixels)
            if features:
                row["features"] = self.rng.normal(size=features).tolist()
            examples.append(row)
        self.metrics.add("wrong", part="test", examples=examples)

    def _scribble(self, height, width):
        y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
        turn, radius = self.rng.uniform(0, math.pi), self.rng.uniform(0.2, 0.4)
        ring = np.hypot((x - 0.5) * (1 + 0.6 * math.cos(turn)), y - 0.5) - radius
        return (255 * np.exp(-((ring / 0.11) ** 2))).ravel().round().tolist()

    def augmented(self, classes, size, n=10, drawn=4):
        """Write pictures of examples, and under each some others."""
        lines = [[self._scribble(*size) for _ in range(n)] for _ in range(1 + drawn)]
        labels = self.rng.integers(classes, size=n)
        about = {"image": list(size), "examples": list(range(n)), "labels": labels}
        self.metrics.add("augmented", **about, pixels=lines)

    def boundary(self, classes=2, labels=("x1", "x2"), n=200):
        """Write a plane split into rings, and examples that mostly agree."""
        x = np.linspace(-1.5, 1.5, 120)
        y = np.linspace(-1.2, 1.2, 100)
        radius = np.hypot(x[None], y[:, None])
        field = 1 / (1 + np.exp(12 * (radius - 0.7)))
        if classes > 2:
            field = np.minimum((radius / 1.6 * classes).astype(int), classes - 1)
        points = self.rng.uniform(-1.2, 1.2, size=(n, 2))
        near = np.hypot(points[:, 0], points[:, 1]) + 0.08 * self.rng.normal(size=n)
        rings = np.clip((near / 1.6 * classes).astype(int), 0, classes - 1)
        label = (near < 0.7).astype(int) if classes == 2 else rings
        rows = [[*point, int(c)] for point, c in zip(points.tolist(), label, strict=True)]
        plane = {"x": x, "y": y, "field": field.round(4)}
        self.metrics.add("boundary", **plane, classes=classes, points=rows, labels=list(labels))

    def end(self, status: str | None = "done", message: str | None = None) -> Path:
        """Close the records and write the result, the last file of a run; None leaves it out."""
        self.metrics.close()
        with Record(self.folder / "timing.jsonl") as timing:
            for epoch in range(1, int(self.last.get("epoch", 0)) + 1):
                rate = 9e4 + 100 * epoch
                timing.add("epoch", epoch=epoch, seconds=0.012, examples_per_second=rate)
        if status is None:
            return self.folder
        final = {part: self.last.get(part) for part in ("train", "validation", "test")}
        result = {"status": status, "message": message, "final": final, "seconds": 12.3}
        result |= {"epochs": self.last.get("epoch", 0), "steps": self.last.get("step", 0)}
        result |= {
            "best": {"epoch": 3, "validation_loss": 0.1},
            "check": {"ok": True, "worst": 0.0},
        }
        write_json(self.folder / "result.json", result)
        return self.folder


def images(folder: Path, epochs=200, classes=None, rate=0.1) -> Path:
    """A default run: digits, 10 classes, three parts, every picture of the report."""
    sample = Sample(folder, data="digits", epochs=epochs, rate=rate)
    names = classes or [str(n) for n in range(10)]
    sample.chain([64, 50, 50, len(names)])
    sample.data("digits", classes=names, features=None, image=[8, 8])
    sample.check()
    sample.train(len(names))
    sample.confusion(len(names))
    sample.wrong(len(names), pixels=(8, 8))
    sample.augmented(len(names), (8, 8))
    return sample.end()


def plane(folder: Path, classes=2, epochs=40) -> Path:
    """Two features, hence a boundary; evaluations inside epochs; towers, a skip, one output."""
    sample = Sample(folder, data="circles", epochs=epochs)
    layers = [
        ("left/affine1", "Affine", ["x"], [16], 48, "Affine(width=16)"),
        ("left/tanh1", "Tanh", ["left/affine1"], [16], 0, "Tanh()"),
        ("right/affine1", "Affine", ["x"], [4], 12, "Affine(width=4)"),
        ("right/relu1", "Relu", ["right/affine1"], [4], 0, "Relu()"),
        ("join", "Concat", ["left/tanh1", "right/relu1"], [20], 0, "Concat()"),
        ("affine2", "Affine", ["join"], [20], 420, "Affine(width=20)"),
        ("skip", "Add", ["join", "affine2"], [20], 0, "Add()"),
        ("affine3", "Affine", ["skip"], [1], 21, "Affine(width=1)"),
    ]
    sample.network(layers, [2], "SigmoidCrossEntropy()", penalty="none")
    names = ["inner", "outer", "far", "farther"][:classes]
    sample.data("circles", classes=names, features=["x1", "x2"])
    sample.check(ok=False)
    sample.train(1 if classes == 2 else classes, steps=20, per_epoch=4)
    sample.confusion(classes)
    sample.wrong(classes, n=8, features=2)
    sample.boundary(classes)
    return sample.end()


def regression(folder: Path) -> Path:
    """A regression, whose quality is R², without classes and without a check."""
    sample = Sample(folder, data="energy.csv", epochs=30)
    sample.chain([8, 20, 2], loss="SquaredError()")
    sample.data("energy.csv", features=[f"f{n}" for n in range(8)])
    sample.train(2, metric="r2")
    return sample.end()


def unfinished(folder: Path) -> Path:
    """A run that was killed in its third epoch: no result, and a torn last line."""
    sample = Sample(folder, data="digits", epochs=20)
    sample.chain([64, 50, 10])
    sample.data("digits", classes=[str(n) for n in range(10)], image=[8, 8])
    sample.train(10, until=3)
    sample.end(status=None)
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"kind":"step","epo')
    return folder


def diverged(folder: Path) -> Path:
    """A run whose loss became nan at step 103."""
    sample = Sample(folder, data="digits", epochs=20, rate=50.0)
    sample.chain([64, 50, 10])
    sample.data("digits", classes=[str(n) for n in range(10)], image=[8, 8])
    sample.train(10, until=3)
    broken = [math.nan] * 10
    sample.metrics.add("step", epoch=4, step=103, loss=math.nan, outputs=broken)
    message = "loss became nan at epoch 4, step 103; last finite 2.31; lower rate=50 or clip"
    return sample.end("diverged", message)


def empty(folder: Path) -> Path:
    """A run that was killed before its first row."""
    return Sample(folder, data="digits", epochs=20).end(status=None)
