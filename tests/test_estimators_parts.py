"""What an estimator may be given of the user's own: metrics, losses, callbacks, augmentation."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import f1_score, get_scorer
from sklearn.pipeline import make_pipeline

from pullback.errors import ConfigError
from pullback.estimators import NetworkClassifier, NetworkRegressor, NetworkTransformer
from pullback.estimators.pair import Pair

pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N = 60
random = np.random.default_rng(0)
X = random.normal(size=(N, 4))
Y = (X[:, 0] + 0.5 * X[:, 1] ** 2 > 0.3).astype(int)
HELD = np.arange(N) >= 40


def small(**settings) -> Any:
    given: Any = {"epochs": 5, "patience": 0, "random_state": 0} | settings
    return NetworkClassifier((4,), "tanh", **given)


# Metrics.


def test_a_scorer_of_scikit_learn_judges():
    noisy = np.where(np.arange(N) % 4 == 0, 1 - Y, Y)
    model = small(metric="f1", learning_rate=0.2, epochs=40, patience=6, tol=0.0)
    model.fit(X[~HELD], noisy[~HELD], validation_data=(X[HELD], noisy[HELD]))
    scores = model.history_["validation_f1"]
    assert model.best_epoch_ == np.argmax(scores) + 1
    assert model.n_iter_ == len(scores) == model.best_epoch_ + 6
    assert f1_score(noisy[HELD], model.predict(X[HELD])) == max(scores)
    assert set(model.history_) >= {"loss", "validation_loss", "validation_accuracy"}


def test_a_function_judges_as_its_scorer_does():
    def precision(estimator, X, y):
        return get_scorer("precision")(estimator, X, y)

    given, named = (
        small(metric=metric, validation_fraction=0.3).fit(X, Y)
        for metric in (precision, "precision")
    )
    assert given.history_ == named.history_
    assert_array_equal(given.decision_function(X), named.decision_function(X))


def test_weights_of_the_validation_part_count_in_a_scorer():
    weight = np.where(Y[HELD] == 1, 5.0, 0.1)
    model = small(metric="balanced_accuracy").fit(
        X[~HELD], Y[~HELD], validation_data=(X[HELD], Y[HELD], weight)
    )
    scorer = get_scorer("balanced_accuracy")
    told = scorer(model, X[HELD], Y[HELD], sample_weight=weight)
    assert max(model.history_["validation_balanced_accuracy"]) == told


# A loss of two functions.


def test_a_pair_trains_as_the_loss_that_it_is():
    pair = (lambda z, t: 0.5 * (z - t) ** 2, lambda z, t: z - t)
    numbers = X @ [1.0, -1.0, 0.5, 0.0]
    ours, theirs = (
        NetworkRegressor((4,), loss=loss, epochs=5, patience=0, random_state=0).fit(X, numbers)
        for loss in (pair, None)
    )
    assert_allclose(ours.predict(X), theirs.predict(X), rtol=1e-12)


@pytest.mark.parametrize(
    ("value", "reverse", "message"),
    [
        (lambda z, t: (z - t) ** 2, lambda z, t: z - t, "is not the derivative of its value"),
        (lambda z, t: jnp.sum((z - t) ** 2), lambda z, t: z - t, r"value .* has shape \(\)"),
        (lambda z, t: jnp.abs(z - t), lambda z, t: -jnp.sign(z - t), "is not the derivative"),
        (lambda z, t: z * jnp.nan, lambda z, t: z * jnp.nan, "is not the derivative"),
        (
            lambda z, t: (z - t) ** 2,
            lambda z, t: 2 * (z - t) * (1 + 1e-4),
            "is not the derivative of its value",
        ),
    ],
)  # fmt: skip
def test_a_pair_whose_reverse_is_wrong_is_refused(value, reverse, message):
    with pytest.raises(ConfigError, match=message):
        small(loss=(value, reverse)).fit(X, Y)


def test_a_kink_is_no_error():
    loss = Pair(lambda z, t: jnp.abs(z - t), lambda z, t: jnp.sign(z - t))
    assert float(loss.forward(jnp.ones((2, 1)), jnp.zeros((2, 1)), jnp.ones(2))[0]) == 1


# Callbacks of scikit-learn.

callback = pytest.importorskip("sklearn.callback")


class Watching:
    """A callback that writes down what it sees, and asks to end after some epochs."""

    def __init__(self, last: int):
        self.last, self.seen, self.scores, self.begun = last, [], [], 0

    def setup(self, estimator, context):
        self.seen.append("setup")

    def on_fit_task_begin(self, estimator, context, *, X=None):
        self.begun += 1

    def on_fit_task_end(self, estimator, context, *, X=None, y=None, fitted_estimator: Any = None):
        self.scores.append(fitted_estimator.score(X, y))
        self.seen.append(context.task_name)
        return self.seen.count("epoch") == self.last

    def teardown(self, estimator, context):
        self.seen.append("teardown")


def test_callbacks_are_called_around_each_epoch():
    watching = Watching(3)
    model = small(learning_rate=0.1, epochs=50).set_callbacks(watching).fit(X, Y)
    assert watching.seen == ["setup", "epoch", "epoch", "epoch", "fit", "teardown"]
    assert watching.begun == 4
    assert model.n_iter_ == 3
    assert watching.scores[-1] == watching.scores[-2] == model.score(X, Y)
    plain = small(learning_rate=0.1, epochs=3).fit(X, Y)
    assert_array_equal(plain.decision_function(X), model.decision_function(X))
    assert not hasattr(model, "_callback_fit_ctx")


def test_the_monitor_of_scikit_learn_scores_each_epoch():
    monitor = callback.ScoringMonitor(scoring="accuracy")
    model = small(epochs=4).set_callbacks(monitor).fit(X, Y)
    rows = [row for row in monitor.get_logs().data if row["task_name"] == "epoch"]
    assert len(rows) == model.n_iter_ == 4
    assert rows[-1]["accuracy"] == model.score(X, Y)


# Augmentation, precision, device.


def test_pictures_are_changed_in_training_alone():
    moved = small(augment=["flip"], image=(2, 2)).fit(X, Y)
    plain = small().fit(X, Y)
    assert not np.allclose(moved.decision_function(X), plain.decision_function(X))
    assert moved.score(X, Y) == moved.score(X, Y)


def test_precision_is_that_which_is_asked_for():
    for precision, dtype in (("float32", np.float32), ("float64", np.float64)):
        model = small(precision=precision).fit(X.astype(np.float64), Y)
        assert {a.dtype for a in jax.tree.leaves(model.params_)} == {np.dtype(dtype)}
        assert model.predict_proba(X).dtype == dtype


def test_a_device_that_is_not_here_is_told():
    small(device="cpu").fit(X, Y)
    if jax.default_backend() == "cpu":
        with pytest.raises(ConfigError, match="device='gpu' is not here, there is: cpu"):
            small(device="gpu").fit(X, Y)


# The transformer.


def test_hidden_outputs_are_features():
    network = small(learning_rate=0.05, epochs=60).set_params(hidden=(8, 3))
    hidden = NetworkTransformer(network).fit(X, Y)
    assert hidden.node_ == "tanh2"
    assert hidden.transform(X).shape == (N, 3)
    assert_array_equal(hidden.transform(X), hidden.estimator_.activations(X)["tanh2"])
    first = NetworkTransformer(network, "tanh1").fit(X, Y).set_output(transform="pandas")
    frame: Any = first.transform(X)
    assert list(frame.columns) == [f"networktransformer{i}" for i in range(8)]
    pipe = make_pipeline(NetworkTransformer(network), LogisticRegression()).fit(X, Y)
    assert pipe.score(X, Y) > 0.8


def test_a_trained_network_stays_as_it_is():
    trained = small().fit(X, Y)
    hidden = NetworkTransformer(FrozenEstimator(trained)).fit(X, Y)
    assert_array_equal(hidden.transform(X), trained.activations(X)["tanh1"])


def test_the_transformer_gives_its_seed_to_the_network():
    hidden = NetworkTransformer(small(random_state=None), random_state=3).fit(X, Y)
    assert_array_equal(hidden.estimator_.params_["affine1"]["weight"],
                       small(random_state=3).fit(X, Y).params_["affine1"]["weight"])  # fmt: skip


def test_the_usual_network_is_by_the_targets():
    settings: Any = {"epochs": 1, "patience": 0}
    numbers = NetworkTransformer(NetworkRegressor(**settings)).fit(X, X[:, 0])
    assert numbers.transform(X).shape == (N, 100)
    with pytest.raises(ConfigError, match="has no node 'tanh7'; did you mean 'tanh1'"):
        NetworkTransformer(small(), "tanh7").fit(X, Y)
    with pytest.raises(ConfigError, match="no hidden layer"):
        NetworkTransformer(NetworkClassifier((), epochs=1)).fit(X, Y)
    with pytest.raises(ConfigError, match="estimator must be a network"):
        NetworkTransformer(LogisticRegression()).fit(X, Y)
