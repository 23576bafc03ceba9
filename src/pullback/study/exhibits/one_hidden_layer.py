"""IFT6390: one hidden layer by hand against our maps, by formulas, by differences, and by time."""

from __future__ import annotations

import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from ... import tree
from ...check import check_gradients, relative_error
from ...curvature import Objective
from ...data import Examples
from ...data.generated import circles
from ...initializer import FanInUniform
from ...loss import SoftmaxCrossEntropy
from ...maps import Affine, Net, Relu, Run, chain
from ...penalty import ElasticNet, Sum
from .. import by_hand
from ..by_hand import Found, Params
from ..chart import Chart, Curve, Panel, chart
from .core import Given, Shown

FORMS: dict[str, Callable[[Params, np.ndarray, np.ndarray], Found]] = {
    "loop": by_hand.by_example,
    "matrix": by_hand.by_matrix,
}


def network(hidden: int, classes: int) -> Net:
    """One hidden layer of rectifiers, drawn as the source draws it."""
    first = FanInUniform()
    return chain(Affine(hidden, initializer=first), Relu(), Affine(classes, initializer=first))


def formulas(
    given: Given,
    *,
    inputs: int = 7,
    hidden: int = 5,
    classes: int = 4,
    examples: int = 12,
    l1: tuple[float, float] = (0.03, 0.02),
    l2: tuple[float, float] = (0.01, 0.04),
) -> Shown:
    """Hold the source's formulas, written in NumPy, against our reverse pass, in float64.

    Numbers: the relative norm of what is between, for "W1", "b1", "W2", "b2" and "x"; with the
    elastic net for "W1-penalised" and "W2-penalised"; "parameters", how many there are, and
    "parameters-by-formula", d_h (d + 1) + m (d_h + 1). "rows-as-printed", how far from 1 the rows
    of the softmax of §2.8 sum to, which is divided by the sum of the whole array; "rows-mended",
    of that of §3.1.1.
    """
    rng = np.random.default_rng(given.seed)
    x = rng.standard_normal((examples, inputs))
    t = np.eye(classes)[rng.integers(classes, size=examples)]
    layers = (("affine1/weight",), ("affine2/weight",))
    # Ours halves the squares, the source does not.
    penalty = Sum(tuple(ElasticNet(a, 2 * b, on) for a, b, on in zip(l1, l2, layers, strict=True)))
    with jax.enable_x64(True):
        net = network(hidden, classes)
        params, state = net.init(jax.random.key(given.seed), jnp.asarray(x))
        ours, by_input, _ = _ours(net, params, state, x, t)
        penalised = tree.add(ours, penalty.reverse(params))
    at, ours, penalised = jax.device_get((params, ours, penalised))
    hand = by_hand.by_matrix(at, x, t)
    named, theirs = tree.named(ours), tree.named(hand.gradient)
    pairs = {
        "W1": (named["affine1/weight"], theirs["affine1/weight"]),
        "b1": (named["affine1/bias"], theirs["affine1/bias"]),
        "W2": (named["affine2/weight"], theirs["affine2/weight"]),
        "b2": (named["affine2/bias"], theirs["affine2/bias"]),
        "x": (by_input, hand.by_input),
    }
    for i, name in enumerate(("affine1", "affine2")):
        term = by_hand.elastic_net(at[name]["weight"], l1[i], l2[i])
        whole = hand.gradient[name]["weight"] + term
        pairs[f"W{i + 1}-penalised"] = (penalised[name]["weight"], whole)
    logits = np.concatenate([rng.standard_normal((4, classes)) + 5 * row for row in range(3)])
    printed, mended = _softmax_as_printed(logits).sum(axis=1), _softmax(logits).sum(axis=1)
    numbers = {name: relative_error(a, b) for name, (a, b) in pairs.items()}
    numbers |= {
        "parameters": float(tree.count(at)),
        "parameters-by-formula": float(hidden * (inputs + 1) + classes * (hidden + 1)),
        "rows-as-printed": float(np.abs(printed - 1).max()),
        "rows-mended": float(np.abs(mended - 1).max()),
    }
    rows = np.arange(1, len(logits) + 1)
    return Shown(
        numbers,
        (
            Chart(
                id="formulas",
                title="Our gradients against the formulas",
                caption="Each dot is one entry: across by the formulas of the source, up by our "
                "reverse pass. On the line both are equal.",
                x="by the formulas",
                y="by our reverse",
                panels=tuple(
                    Panel(title=name, curves=_beside(b, a)) for name, (a, b) in pairs.items()
                ),
            ),
            chart(
                "softmax-rows",
                "What the rows of a softmax sum to",
                "Twelve rows of logits, each four of them 5 higher than those before. The softmax "
                "of §2.8 shifts and divides by the whole array; that of §3.1.1 row by row.",
                "row",
                "sum of the row",
                [
                    Curve(name="§3.1.1, row by row", x=rows, y=mended),
                    Curve(name="§2.8, as printed", x=rows, y=printed),
                ],
            ),
        ),
    )


def gradient_check(
    given: Given, *, hidden: int = 2, batches: tuple[int, ...] = (1, 10), data_seed: int = 0
) -> Shown:
    """Check the gradients of loop and matrix form by finite differences, in float64, on circles.

    Forward differences are those of the source, with steps uniform in [10⁻⁵, 1.1 · 10⁻³]. Central
    ones are those of `pullback check`. The error of an array is the relative norm.

    Source:  IFT6390 homework 3, practical part, §3.1.3, §3.2 and figures 1, 2, 6–9

    Numbers: the worst error of any array, "loop-1-forward", "loop-1-central" and so on for each
    form and batch; "undefined-ratios", of how many of all entries the source's check has a ratio
    0/0, which it lets pass; "refused-ratios", how many it refuses although the gradient is right.
    """
    data = circles(max(batches), seed=data_seed, dtype=np.float64)
    net = network(hidden, 2)
    rng = np.random.default_rng(given.seed)
    numbers: dict[str, float] = {}
    dots, errors = [], []
    undefined = refused = 0
    with jax.enable_x64(True):
        params, state = net.init(jax.random.key(given.seed), jnp.asarray(data.x))
        at = jax.device_get(params)
        numeric = {k: _central(net, params, state, data, k, given.seed) for k in batches}
        for form, gradients in FORMS.items():
            for k in batches:
                x, t = data.x[:k], np.eye(2)[data.y[:k]]
                found = tree.named(gradients(at, x, t).gradient)
                forward, central = _forward_differences(gradients, at, x, t, rng), numeric[k]
                for kind, slopes in (("forward", forward), ("central", central)):
                    worst = max(relative_error(found[name], slopes[name]) for name in found)
                    numbers[f"{form}-{k}-{kind}"] = worst
                flat, ahead, both = map(_flat, (found, forward, central))
                with np.errstate(invalid="ignore", divide="ignore"):
                    ratio = ahead / flat
                    refused += int(np.sum((ratio < 0.99) | (ratio > 1.01)))
                undefined += int(np.isnan(ratio).sum())
                title = f"{form}, K = {k}"
                dots.append(Panel(title=title, curves=_beside(flat, ahead, "forward differences")))
                errors.append(
                    Panel(
                        title=title,
                        curves=(
                            _errors("forward differences", flat, ahead),
                            _errors("central differences", flat, both),
                        ),
                    )
                )
    numbers |= {"undefined-ratios": float(undefined), "refused-ratios": float(refused)}
    return Shown(
        numbers,
        (
            Chart(
                id="gradient-check",
                title="Finite differences against backpropagation",
                caption=f"Each dot is one of the {tree.count(at)} parameters of a network with "
                f"{hidden} hidden units on circles. On the line both are equal.",
                x="gradient by backpropagation",
                y="by differences",
                panels=tuple(dots),
            ),
            Chart(
                id="gradient-errors",
                title="How far differences are from backpropagation",
                caption="The same, by parameter. Where both are exactly equal there is no dot.",
                x="parameter",
                y="difference of the two",
                panels=tuple(errors),
                log="y",
            ),
        ),
    )


def loop_and_matrix(
    given: Given,
    *,
    examples: int = 5000,
    inputs: int = 784,
    hidden: int = 50,
    classes: int = 10,
    batch: int = 100,
    learning_rate: float = 0.01,
    passes: int = 3,
) -> Shown:
    """Train one epoch by the loop, by matrices, and by our compiled step, on noise, in float64.

    Time does not depend on what the data are, so none are wanted.

    Source:  IFT6390 homework 3, practical part, §3.4 and §3.5

    Numbers: "apart", the worst relative norm between the gradients of any two of the three on the
    first batch; "trained-apart", between their weights after an epoch; "loop-seconds",
    "matrix-seconds", "ours-seconds", of an epoch, the fastest of some; "matrix-gain", loop over
    matrix, and "our-gain", loop over ours.
    """
    from threadpoolctl import threadpool_limits

    rng = np.random.default_rng(given.seed)
    x = rng.random((examples, inputs))
    t = np.eye(classes)[rng.integers(classes, size=examples)]
    batches = [(x[i : i + batch], t[i : i + batch]) for i in range(0, examples, batch)]
    with jax.enable_x64(True):
        net = network(hidden, classes)
        params, state = net.init(jax.random.key(given.seed), jnp.asarray(x[:1]))

        @jax.jit
        def step(params, x, t):
            grads = _objective(net, state, x, t).gradient(params)
            return tree.add(params, tree.scale(-learning_rate, grads))

        def compiled():
            at = params
            for x, t in batches:
                at = step(at, x, t)
            return jax.block_until_ready(at)

        def written(gradients):
            at = {name: jax.device_get(params[name]) for name in ("affine1", "affine2")}
            for x, t in batches:
                grads = gradients(at, x, t).gradient
                at = jax.tree.map(lambda w, dw: w - learning_rate * dw, at, grads)
            return at

        compiled()
        epochs = {name: lambda form=form: written(form) for name, form in FORMS.items()}
        # One thread for NumPy: on small matrices more of them wait for each other, most of all
        # beside ours.
        with threadpool_limits(1):
            timed = {name: _timed(go, passes) for name, go in (*epochs.items(), ("ours", compiled))}
        first = [form(jax.device_get(params), *batches[0]).gradient for form in FORMS.values()]
        first.append(_ours(net, params, state, *batches[0])[0])
    seconds = {name: spent for name, (spent, _) in timed.items()}
    names = ("loop, NumPy", "matrices, NumPy", "our maps, compiled")
    return Shown(
        {
            "apart": _apart(first),
            "trained-apart": _apart([trained for _, trained in timed.values()]),
            **{f"{name}-seconds": spent for name, spent in seconds.items()},
            "matrix-gain": seconds["loop"] / seconds["matrix"],
            "our-gain": seconds["loop"] / seconds["ours"],
        },
        (
            chart(
                "epoch-times",
                "One epoch, three ways",
                f"{examples:,} examples of {inputs} inputs in batches of {batch}, {hidden} hidden "
                f"units, float64; the fastest of {passes} epochs.",
                "",
                "seconds",
                [Curve(name="", x=range(3), y=list(seconds.values()))],
                bars=True,
                ticks=names,
                log="y",
            ),
        ),
    )


def _objective(net: Net, state, x, t) -> Objective:
    batch = (x, t, jnp.ones(len(x)))
    return Objective(net, SoftmaxCrossEntropy(), Sum(), state, batch)


def _ours(net: Net, params, state, x, t):
    """Our gradient by the parameters, by the inputs, and the value."""
    loss = SoftmaxCrossEntropy()
    z, saved, _ = net.forward(params, state, jnp.asarray(x), Run())
    value, at_loss = loss.forward(z, jnp.asarray(t), jnp.ones(len(x)))
    grads, dx = net.reverse(params, saved, loss.reverse(at_loss))
    return jax.device_get(grads), np.asarray(dx), float(value)


def _central(net: Net, params, state, data: Examples, k: int, seed: int) -> dict[str, np.ndarray]:
    """The central differences with which our check compares the first k examples' gradient."""
    batch = (data.x[:k], np.eye(2)[data.y[:k]], np.ones(k))
    report = check_gradients(
        net, SoftmaxCrossEntropy(), Sum(), params, state, batch, seed=seed, entries=10**6
    )
    central = {name: np.zeros(leaf.shape) for name, leaf in tree.named(params).items()}
    for block in report.blocks:
        for entry in block.entries:
            central[block.name][entry.index] = entry.numeric
    return central


def _forward_differences(gradients, at: Params, x, t, rng) -> dict[str, np.ndarray]:
    """(f(θ + h) − f(θ))/h for each entry by itself, each with a step of its own."""
    start, found = gradients(at, x, t).value, {}
    for layer, leaves in at.items():
        for name, leaf in leaves.items():
            slopes = np.zeros_like(leaf)
            for index in np.ndindex(leaf.shape):
                step = rng.uniform(10e-6, 11e-4)
                moved = leaf.copy()
                moved[index] += step
                there = at | {layer: leaves | {name: moved}}
                slopes[index] = (gradients(there, x, t).value - start) / step
            found[f"{layer}/{name}"] = slopes
    return found


def _flat(arrays: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([each.ravel() for each in arrays.values()])


def _beside(x: np.ndarray, y: np.ndarray, name: str = "entries") -> tuple[Curve, ...]:
    """Dots, and the line on which both are equal."""
    line = np.linspace(min(x.min(), y.min()), max(x.max(), y.max()), 13)
    return (
        Curve(name=name, x=x.ravel(), y=y.ravel(), dots=True),
        Curve(name="equal", x=line, y=line),
    )


def _errors(name: str, exact: np.ndarray, numeric: np.ndarray) -> Curve:
    gap = np.abs(exact - numeric)
    return Curve(
        name=name, x=np.arange(1, gap.size + 1), y=np.where(gap > 0, gap, np.nan), dots=True
    )


def _apart(trees: list) -> float:
    """The worst relative norm between an array of the first tree and the same of another."""
    first, *others = (tree.named(jax.device_get(each)) for each in trees)
    return max(relative_error(first[name], each[name]) for each in others for name in first)


def _timed(go: Callable, passes: int):
    """The least time of some runs, and what the last one gave."""
    spent, found = [], None
    for _ in range(passes):
        began = time.perf_counter()
        found = go()
        spent.append(time.perf_counter() - began)
    return min(spent), found


def _softmax_as_printed(z: np.ndarray) -> np.ndarray:
    exps = np.exp(z - z.max())
    return exps / exps.sum()


def _softmax(z: np.ndarray) -> np.ndarray:
    exps = np.exp(z - z.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)
