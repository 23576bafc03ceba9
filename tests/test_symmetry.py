"""Which first weights leave units equal for ever: found where it is true, and only there."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pullback import config, experiment
from pullback.curvature import Objective
from pullback.initializer import Constant, LeCun, Zeros
from pullback.loss import SoftmaxCrossEntropy, SquaredError
from pullback.maps import Affine, BatchNorm, Dropout, Relu, Run, Selu, Sigmoid, Softmax, Tanh, chain
from pullback.penalty import L2
from pullback.report.history import History
from pullback.report.verdict import notices
from pullback.runs import RunFolder
from pullback.symmetry import stuck_layers

DRAWN = LeCun()


def affine(width, initializer, bias=True):
    return Affine(width, bias, initializer)


def stuck(net, loss=None, change=None):
    """The names of the layers that are stuck, each with whether its gradient is 0."""
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.random((8, 6), np.float32))
    y = jnp.asarray(np.eye(3, dtype=np.float32)[rng.integers(0, 3, 8)])
    params, state = net.init(jax.random.key(0), x)
    run = Run(jax.random.key(1), True)
    loss = SoftmaxCrossEntropy() if loss is None else loss
    at = Objective(net, loss, L2(0.01), state, (x, y, jnp.ones(8)), run)
    notes = stuck_layers(at, params if change is None else change(params))
    return {note.split("'")[1]: "exactly 0" in note for note in notes}


ALL = {"affine1": False, "affine2": False}


@pytest.mark.parametrize(
    ("layers", "expected"),
    [
        ((affine(4, DRAWN), Tanh(), affine(3, DRAWN)), {}),
        # A model without hidden layers may begin anywhere: it is convex.
        ((affine(3, Zeros()),), {}),
        ((affine(3, Constant(0.1)),), {}),
        # tanh(0) = 0: no gradient but that of the last bias.
        ((affine(4, Zeros()), Tanh(), affine(3, Zeros())), {"affine1": True}),
        ((affine(4, Zeros(), False), Selu(), affine(3, Zeros(), False)), dict.fromkeys(ALL, True)),
        # σ(0) = ½ lets the last layer move, and then the hidden one, all its units alike.
        ((affine(4, Zeros()), Sigmoid(), affine(3, Zeros())), {"affine1": False}),
        ((affine(4, Constant(0.2)), Tanh(), affine(3, Constant(0.2))), {"affine1": False}),
        (
            (
                affine(4, Constant(0.2)),
                Relu(),
                affine(5, Constant(0.1)),
                Relu(),
                affine(3, Zeros()),
            ),
            ALL,
        ),
        # Equal units below random weights part at once; but zeros under a ReLU lie on its kink.
        ((affine(4, Constant(0.2)), Tanh(), affine(3, DRAWN)), {}),
        ((affine(4, Zeros()), Tanh(), affine(3, DRAWN)), {}),
        ((affine(4, Zeros()), Relu(), affine(3, DRAWN)), {"affine1": True}),
        # Below a last layer of zeros nothing moves in the first step: the second parts them.
        ((affine(4, Constant(0.2)), Tanh(), affine(5, DRAWN), Tanh(), affine(3, Zeros())), {}),
        ((affine(4, DRAWN), Tanh(), affine(3, Zeros())), {}),
        # Masks differ from unit to unit, and so do then their gradients.
        ((affine(4, Constant(0.2)), Tanh(), Dropout(0.5), affine(3, Constant(0.2))), {}),
        (
            (affine(4, Constant(0.2)), BatchNorm(), Tanh(), affine(3, Constant(0.2))),
            {"affine1": False},
        ),
        # One unit is equal to no other.
        ((affine(1, Zeros()), Sigmoid(), affine(3, Zeros())), {}),
    ],
    ids=str,
)
def test_layers_that_are_stuck(layers, expected):
    assert stuck(chain(*layers)) == expected


def test_a_softmax_before_a_squared_error():
    net = chain(affine(4, Constant(0.1)), Tanh(), affine(3, DRAWN), Softmax())
    assert stuck(net, SquaredError()) == {}


def test_different_biases_part_equal_weights():
    def change(params):
        return params | {"affine1": params["affine1"] | {"bias": jnp.arange(4.0)}}

    net = chain(affine(4, Constant(0.2)), Tanh(), affine(3, Constant(0.2)))
    assert stuck(net) == {"affine1": False}
    assert stuck(net, change=change) == {}


SMALL = ["data.source=xor", "data.n=40", "network.hidden=[4]", "network.activation=tanh"]


@pytest.mark.parametrize("start", ["zeros", '{name="constant",value=0.3}', "glorot"])
def test_the_check_of_an_experiment_says_it(start):
    report = experiment.check(config.read(None, [*SMALL, f"network.initializer={start}"]))
    assert report.ok  # the derivatives are right all the same
    assert json.loads(json.dumps(report.row()))["notes"] == list(report.notes)
    if start == "glorot":
        assert report.notes == ()
        assert "note:" not in str(report)
    else:
        (note,) = report.notes
        assert note.startswith("the 4 units of 'affine1' begin equal, and in 3 trial steps of")
        assert ("exactly 0" in note) is (start == "zeros")
        assert str(report).splitlines()[-1] == f"note: {note}"


def test_a_report_says_it_at_its_top(tmp_path):
    notes = ["the 4 units of 'a' begin equal", "the 5 units of 'b' begin equal"]
    rows = {"check": [{"ok": True, "notes": notes}]}
    done = {"status": "done", "message": None}
    history = History(RunFolder(tmp_path), "", {}, rows, [], done)
    (notice,) = notices(history)
    assert notice.title == "Units that stay equal"
    assert notice.text == "The 4 units of 'a' begin equal. The 5 units of 'b' begin equal."
