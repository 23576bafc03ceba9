"""The estimators: what their arguments mean, and that training is that of the package."""

from __future__ import annotations

import pickle
import warnings
from typing import Any

import jax
import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.sparse import csr_array
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import log_loss

from pullback.data import Batches
from pullback.errors import ConfigError, DataError, DivergedError, ShapeError
from pullback.estimators import NetworkClassifier, NetworkRegressor
from pullback.estimators.packed import Packed, bucket, mixes
from pullback.estimators.settings import rule
from pullback.loss import Hinge, SoftmaxCrossEntropy
from pullback.maps import Affine, BatchNorm, Recompute, Relu, Softmax, Tanh, chain
from pullback.optim import LBFGS, SGD, Adam, Cosine, Momentum, Plateau
from pullback.train import Plan, Task, fit
from pullback.train.stretch import advance

# A few epochs are enough to see what is meant here.
pytestmark = pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")

N, D = 60, 3
random = np.random.default_rng(0)
X = random.normal(size=(N, D))
TWO = np.where(X[:, 0] + 0.5 * X[:, 1] ** 2 > 0.3, "yes", "no")
THREE = np.digitize(X[:, 0] + 0.3 * random.normal(size=N), [-0.5, 0.5])
LABELS = np.stack([X[:, 0] > 0, X[:, 1] > 0.2], axis=1).astype(int)
NUMBERS = np.stack([X @ [1.0, -2.0, 0.5] + 1, np.sin(X[:, 0])], axis=1)


def small(**settings) -> Any:
    """A classifier that is quick to compile; tests that can share it share its program."""
    given: Any = {"random_state": 0, "epochs": 3} | settings
    return NetworkClassifier((4,), "tanh", **given)


# The shapes of programs.


def chunks(packed, epochs):
    return [next(packed.epoch(i)) for i in range(epochs)]


def seen(chunk):
    """The rows of every batch of a chunk that count, in turn."""
    rows = [row for line in chunk.order[: chunk.full] for row in line if chunk.weight[row] > 0]
    return rows + (chunk.rest.tolist() if chunk.has_rest else [])


@pytest.mark.parametrize(("size", "whole"), [(7, False), (7, True), (60, False), (60, True)])
def test_every_pass_visits_every_row_once(size, whole):
    packed = Packed(X, NUMBERS, np.ones(N), size, 0, whole, total=40, looked_at=False)
    epochs = -(-40 // packed.passes)
    visits = [row for chunk in chunks(packed, epochs) for row in seen(chunk)]
    assert len(visits) == 40 * N
    for i in range(40):
        assert sorted(visits[i * N : (i + 1) * N]) == list(range(N))
    for chunk in chunks(packed, 1):
        assert_array_equal(chunk.x[:N], X)
        assert len(chunk.x) == 64
        assert len(chunk.order) == bucket(len(chunk.order))


def test_a_batch_of_all_examples_is_filled_up_unless_examples_mix():
    assert chunks(Packed(X, NUMBERS, np.ones(N), N, 0, False), 1)[0].order.shape == (16, 64)
    assert chunks(Packed(X, NUMBERS, np.ones(N), N, 0, True), 1)[0].order.shape == (16, N)


def test_a_batch_norm_mixes_examples_wherever_it_sits_and_so_may_a_stranger():
    class Stranger(Relu):
        pass

    inner = chain(Affine(2), BatchNorm())
    assert mixes(chain(Recompute(inner), Affine(1)))
    assert mixes(chain(Affine(2), Stranger()))
    assert not mixes(chain(Affine(2), Relu()))


@pytest.mark.parametrize("normalization", [None, "batch-norm"])
def test_training_is_that_of_the_package(normalization):
    """Padding, passes and shapes change nothing: `fit` over plain batches ends in one place."""
    model = small(normalization=normalization, batch_size=16, loss="softmax-cross-entropy")
    model.fit(X, THREE)
    seed = int(np.random.RandomState(0).randint(np.iinfo(np.int32).max))
    with jax.enable_x64(True):
        task = Task(model.net_, SoftmaxCrossEntropy(), Adam(0.001))
        batches = Batches(X, np.eye(3)[THREE], None, 16, seed, np.inf)
        plan = Plan(3, seed=seed, evaluate_epochs=0, watch_epochs=0, checkpoint_epochs=0)
        learner, _ = fit(task, batches, plan)
    jax.tree.map(
        lambda a, b: assert_allclose(a, np.asarray(b), rtol=1e-9, atol=1e-12),
        (model.params_, model.state_),
        (learner.params, learner.state),
    )


def test_fits_of_similar_sizes_share_one_program():
    small().fit(X, TWO)
    programs: Any = advance
    before = programs._cache_size()
    small(random_state=1, epochs=40).fit(X[:50], TWO[:50])
    small().fit(X[:33], TWO[:33], np.arange(33) + 1.0)
    assert programs._cache_size() == before
    small().fit(X[:32], TWO[:32])
    assert programs._cache_size() == before + 1


# What the arguments stand for.


def names(model):
    return [node.name for node in model.net_.nodes]


def test_layers_come_from_names_tables_and_objects():
    settings: Any = dict(
        hidden=(4, 3),
        activation=["tanh", {"name": "leaky-relu", "negative_slope": 0.2}],
        normalization="layer-norm",
        dropout=(0.0, 0.5),
        input_dropout=0.1,
        initializer="glorot",
    )
    model: Any = NetworkClassifier(**settings, random_state=0, epochs=1).fit(X, TWO)
    assert names(model) == [
        "dropout1", "affine1", "layernorm1", "tanh1",
        "affine2", "layernorm2", "leakyrelu1", "dropout2", "affine3",
    ]  # fmt: skip
    assert model.net_.nodes[6].map.negative_slope == 0.2
    with_norm = small(normalization="batch-norm").set_params(epochs=1).fit(X, TWO)
    assert "bias" not in with_norm.params_["affine1"]
    assert with_norm.params_["affine2"]["bias"].shape == (1,)
    assert "bias" not in small(bias=False, epochs=1).fit(X, TWO).params_["affine2"]


def test_a_whole_net_takes_the_place_of_layers():
    net = chain(Affine(4), Tanh(), Affine(1))
    given = NetworkClassifier(net=net, random_state=0, epochs=3, patience=0).fit(X, TWO)
    named = small(patience=0).fit(X, TWO)
    assert names(given) == names(named)
    with pytest.raises(ConfigError, match=r"hidden=\(5,\) has no use beside net"):
        NetworkClassifier((5,), net=net).fit(X, TWO)
    with pytest.raises(ShapeError, match=r"gives \(1,\) for each example, data and loss want \(3,"):
        NetworkClassifier(net=net).fit(X, THREE)
    with pytest.raises(ConfigError, match="net must be a network, got 'relu'"):
        NetworkClassifier(net="relu").fit(X, TWO)


def test_a_rule_is_named_with_a_rate_or_given_whole():
    assert rule("adam", None) == Adam(0.001)
    assert rule("momentum", None) == Momentum(0.1)
    assert rule("sgd", Cosine(0.1, 5)) == SGD(Cosine(0.1, 5))
    assert rule(SGD(0.2), None) == SGD(0.2)
    assert rule("lbfgs", None) == LBFGS()
    assert rule({"name": "momentum", "learning_rate": 0.3}, None) == Momentum(0.3)
    for value in (SGD(0.2), "lbfgs"):
        with pytest.raises(ConfigError, match=r"learning_rate=0.1 has no use with rule="):
            rule(value, 0.1)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"activation": "rellu"}, "activation has no name 'rellu'; did you mean 'relu'"),
        ({"activation": ["relu", "relu"]}, "activation has 2 entries for 1 hidden layers"),
        ({"activation": {"name": "leaky-relu", "slop": 1.0}}, "slop: Extra inputs"),
        ({"hidden": (0,)}, "hidden must be widths of at least 1"),
        ({"hidden": 0.5}, "hidden must be widths"),
        ({"loss": 3}, "loss must be a name, a dict with a name, or an object, got 3"),
        ({"rule": "adamm"}, "rule has no name 'adamm'; did you mean"),
        ({"penalty": "l2"}, "penalty='l2': strength: Field required"),
        ({"penalty": -1.0}, "strength"),
        ({"epochs": 0}, "epochs must be a whole number of at least 1, got 0"),
        ({"patience": -1}, "patience must be a whole number of at least 0"),
        ({"batch_size": 0}, "batch_size must be at least 1"),
        ({"batch_size": 2.5}, "batch_size must be a whole number or 'auto'"),
        ({"rule": "lbfgs", "batch_size": 8}, "LBFGS sees all examples in each step"),
        ({"metric": "acuracy"}, "metric must be 'loss', 'accuracy', a scorer's name or a function"),
        ({"metric": "f1"}, "metric='f1' wants a validation part, and there is none"),
        ({"precision": "float16"}, "precision must be 'float32', 'float64', 'bfloat16' or None"),
        ({"device": "tpu"}, "device must be 'cpu', 'gpu' or None"),
        ({"augment": "flip"}, "Flip wants pictures"),
        ({"augment": "flip", "image": (2, 2)}, "image must be .* of the 3 features"),
        ({"validation_fraction": 1.5}, r"validation_fraction must be in \[0, 1\)"),
        ({"normalization": "batch-norm", "batch_size": 1}, "at least 2 examples"),
        ({"rule": Plateau(SGD(0.1))}, "watches the validation part, and there is none"),
        ({"class_weight": "even"}, "class_weight must be a dict by label or 'balanced'"),
        ({"class_weight": {"yes": -1.0}}, "class_weight wants numbers of at least 0"),
        ({"class_weight": {"yes": 0.0, "no": 0.0}}, "not all of them 0"),
        ({"class_weight": {"maybe": 2.0}}, r"class_weight names \['maybe'\], the classes are"),
    ],
)
def test_a_wrong_argument_is_told_in_a_sentence(settings, message):
    with pytest.raises(ConfigError, match=message):
        NetworkClassifier(**settings).fit(X, TWO)


# What is learnt.


def test_lbfgs_finds_what_logistic_regression_finds():
    strength = 0.05
    ours = NetworkClassifier((), rule="lbfgs", penalty=strength, tol=0.0, patience=0, epochs=60)
    theirs = LogisticRegression(C=1 / (N * strength), tol=1e-10, max_iter=1000)
    for y, bias in ((TWO, True), (THREE, True)):
        ours.set_params(bias=bias).fit(X, y)
        theirs.fit(X, y)
        assert_allclose(ours.predict_proba(X), theirs.predict_proba(X), atol=1e-5)
        assert_array_equal(ours.predict(X), theirs.predict(X))
    assert ours.n_iter_ < 60  # it was stuck at the minimum, and says when


def test_several_targets_and_weights_are_those_of_ridge_regression():
    weight = np.linspace(0.5, 3, N)
    ours = NetworkRegressor((), rule="lbfgs", penalty=0.1, tol=0.0, patience=0, epochs=60)
    theirs = Ridge(alpha=0.1 * weight.sum())
    assert_allclose(
        ours.fit(X, NUMBERS, weight).predict(X),
        theirs.fit(X, NUMBERS, weight).predict(X),
        atol=1e-5,
    )
    assert ours.fit(X, NUMBERS[:, 0]).predict(X).shape == (N,)
    assert ours.fit(X, NUMBERS[:, :1]).predict(X).shape == (N, 1)


def test_weights_of_classes_are_weights_of_their_examples():
    weight = np.where(TWO == "yes", 3.0, 1.0)
    by_class = small(class_weight={"yes": 3.0}).fit(X, TWO)
    by_example = small().fit(X, TWO, weight)
    assert_allclose(by_class.decision_function(X), by_example.decision_function(X))
    balanced = small(class_weight="balanced").fit(X, THREE)
    counts = np.bincount(THREE)
    by_hand = small().fit(X, THREE, (N / (3 * counts))[THREE])
    assert_allclose(balanced.decision_function(X), by_hand.decision_function(X))
    alike = small().fit(X, THREE)
    assert not np.allclose(balanced.decision_function(X), alike.decision_function(X))


def test_an_example_of_no_weight_is_not_there():
    weight = (np.arange(N) % 3 > 0).astype(float)
    some = weight > 0
    there = small(batch_size=8).fit(X[some], TWO[some])
    weighted = small(batch_size=8).fit(X, TWO, weight)
    assert_array_equal(there.decision_function(X), weighted.decision_function(X))


def test_labels_that_do_not_exclude_each_other():
    model: Any = NetworkClassifier((8,), random_state=0, learning_rate=0.05, epochs=100).fit(
        X, LABELS
    )
    assert model.predict(X).dtype == LABELS.dtype
    assert model.score(X, LABELS) > 0.9
    assert model.predict_proba(X).shape == model.decision_function(X).shape == (N, 2)
    assert model.saliency(X, 1).shape == X.shape
    with pytest.raises(ValueError, match="saliency wants a label"):
        model.saliency(X)
    with pytest.raises(DataError, match="more than two classes"):
        model.fit(X, np.stack([THREE, THREE], axis=1))


def test_the_best_weights_are_kept():
    held = np.arange(N) >= 40
    noisy = np.where(np.arange(N) % 4 == 0, "yes", TWO)
    model: Any = NetworkClassifier(
        (4,), "tanh", learning_rate=0.2, epochs=40, patience=5, random_state=0
    )
    model.fit(X[~held], noisy[~held], validation_data=(X[held], noisy[held]))
    losses = model.history_["validation_loss"]
    assert model.best_epoch_ == np.argmin(losses) + 1 < model.n_iter_ == len(losses)
    assert model.n_iter_ == model.best_epoch_ + 5
    assert_allclose(log_loss(noisy[held], model.predict_proba(X[held])), min(losses))
    model.set_params(metric="accuracy").fit(
        X[~held], noisy[~held], validation_data=(X[held], noisy[held], np.ones(20))
    )
    best = max(model.history_["validation_accuracy"])
    assert model.score(X[held], noisy[held]) == pytest.approx(best)


def test_part_of_the_examples_can_be_held_out():
    model = small(validation_fraction=0.25, epochs=5, patience=0).fit(X, TWO)
    assert set(model.history_) == {"loss", "validation_loss", "validation_accuracy"}
    assert len(model.history_["validation_loss"]) == 5
    shares = np.array(model.history_["validation_accuracy"]) * 15  # of 15 examples
    assert_allclose(shares, shares.round(), atol=1e-9)


def test_training_ends_when_its_loss_has_stopped_falling():
    model = small(learning_rate=0.1, epochs=2000, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.fit(X, TWO)
    assert 20 < model.n_iter_ < 2000
    losses = np.array(model.history_["loss"])
    assert len(losses) == model.n_iter_
    assert losses[-10:].min() > losses[:-10].min() - 10 * 1e-3
    assert losses[-11] < losses[0] - 0.1


def test_a_training_that_was_not_done_is_told():
    with pytest.warns(ConvergenceWarning, match=r"after all 3 epochs, and was not done: the loss"):
        small().fit(X, TWO)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small(patience=0).fit(X, TWO)
        small().partial_fit(X, TWO, ["no", "yes"])


def test_partial_fit_and_warm_start_go_on():
    parts = small(rule="sgd")
    for _ in range(3):
        parts.partial_fit(X, TWO, classes=["no", "yes"])
    whole = small(rule="sgd", patience=0).fit(X, TWO)
    assert parts.n_iter_ == 3
    assert_allclose(parts.history_["loss"], whole.history_["loss"])
    assert_allclose(parts.decision_function(X), whole.decision_function(X))
    again = small(rule="adam", warm_start=True, patience=0).fit(X, TWO)
    first = again.history_["loss"]
    again.fit(X, TWO)
    assert again.history_["loss"][0] < first[-1]
    assert again.n_iter_ == 3
    with pytest.raises(ValueError, match=r"labels \['maybe'\] that are none of the classes"):
        parts.partial_fit(X, np.where(TWO == "no", "maybe", TWO))
    with pytest.raises(ValueError, match="classes must be given in the first call"):
        small().partial_fit(X, TWO)
    with pytest.raises(DataError, match="cannot go on in float32: it began in float64"):
        parts.partial_fit(X.astype(np.float32), TWO)


def test_a_divergence_says_where():
    with pytest.raises(DivergedError, match=r"at epoch \d+, step \d+ .*lower the learning rate"):
        NetworkRegressor((4,), rule="sgd", learning_rate=1e6, random_state=0).fit(X, NUMBERS)


# What a trained network shows.


@pytest.fixture(scope="module")
def three():
    return small(normalization="layer-norm").fit(X, THREE)


def test_the_jacobian_is_that_of_the_logits(three):
    step = 1e-6 * np.eye(D)
    by_differences = np.stack(
        [(three.decision_function(X + e) - three.decision_function(X - e)) / 2e-6 for e in step],
        axis=2,
    )
    jacobian = three.jacobian(X)
    assert_allclose(jacobian, by_differences, rtol=1e-6, atol=1e-8)
    chosen = three.predict(X)
    assert_allclose(three.saliency(X), jacobian[np.arange(N), chosen] * X, atol=1e-12)
    assert_allclose(three.saliency(X, 2), jacobian[:, 2] * X, atol=1e-12)


def test_saliency_of_one_output():
    two = small().fit(X, TWO)
    sign = np.where(two.predict(X) == "yes", 1, -1)[:, None]
    assert_allclose(two.saliency(X), sign * two.jacobian(X)[:, 0] * X, atol=1e-12)
    assert_allclose(two.saliency(X, "no"), -two.saliency(X, "yes"))
    with pytest.raises(ValueError, match="label='maybe' is none of"):
        two.saliency(X, "maybe")
    line = NetworkRegressor((), epochs=1, patience=0).fit(X, NUMBERS)
    weight = line.params_["affine1"]["weight"]
    assert_allclose(line.saliency(X, 1), X * weight[:, 1], atol=1e-12)
    with pytest.raises(ValueError, match="saliency wants a target, 0 to 1"):
        line.saliency(X)


def test_activations_are_those_of_every_node(three):
    found = three.activations(X)
    assert list(found) == names(three)
    assert_allclose(found["tanh1"], np.tanh(found["layernorm1"]))
    assert_array_equal(found["affine2"], three.decision_function(X))


def test_probabilities_where_the_loss_has_them():
    margins = small(loss=Hinge()).fit(X, TWO)
    assert not hasattr(margins, "predict_proba")
    assert_array_equal(margins.predict(X) == "yes", margins.decision_function(X) > 0)
    apart = small(loss="sigmoid-cross-entropy").fit(X, THREE)
    assert_allclose(apart.predict_proba(X).sum(axis=1), 1)
    net = chain(Affine(3), Softmax())
    squared = NetworkClassifier(net=net, loss="squared-error", epochs=2).fit(X, THREE)
    assert_allclose(squared.predict_proba(X).sum(axis=1), 1)
    with pytest.raises(ConfigError, match="Quantile wants numbers, the targets are classes"):
        small(loss="quantile").fit(X, TWO)


# What goes in and out.


def test_arithmetic_has_the_type_of_x():
    single = small().fit(X.astype(np.float32), TWO)
    assert {a.dtype for a in jax.tree.leaves(single.params_)} == {np.dtype(np.float32)}
    assert single.predict_proba(X).dtype == np.float32
    double = small().fit(X, TWO)
    assert {a.dtype for a in jax.tree.leaves(double.params_)} == {np.dtype(np.float64)}
    assert double.predict_proba(X.astype(np.float32)).dtype == np.float64


def test_sparse_inputs_are_as_dense_ones():
    dense = np.where(np.abs(X) > 0.8, X, 0)
    model, other = small().fit(csr_array(dense), TWO), small().fit(dense, TWO)
    assert_array_equal(model.decision_function(csr_array(dense)), other.decision_function(dense))
    assert_array_equal(model.saliency(csr_array(dense)), other.saliency(dense))


def test_a_fitted_estimator_is_numpy_and_pickles():
    model = small().fit(X, TWO)
    assert all(type(a) is np.ndarray for a in jax.tree.leaves((model.params_, model.state_)))
    twin = pickle.loads(pickle.dumps(model))
    assert_array_equal(twin.decision_function(X), model.decision_function(X))
    for each in (twin, model):
        each.partial_fit(X, TWO)
    assert_array_equal(twin.decision_function(X), model.decision_function(X))


def test_epochs_are_told_on_stderr(capsys):
    small(verbose=2, epochs=5, patience=0).fit(X, TWO)
    told = capsys.readouterr()
    assert told.out == ""
    assert [line.split(":")[0] for line in told.err.splitlines()] == ["epoch 2", "epoch 4"]
