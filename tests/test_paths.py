"""Paths on surfaces; and what the sources claim of plateaus and early stopping, in numbers."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from command import invoke, refused, settings

from pullback import early_stopping
from pullback.early_stopping import compare, descent_share, ridge_share
from pullback.errors import ConfigError
from pullback.model import load_model
from pullback.optim import SGD, Momentum, Newton, minimise
from pullback.paths import (
    CLAIMED_ON_A_PLATEAU,
    CLAIMED_WHERE_GRADIENTS_VANISH,
    RATES,
    picture,
    plane_of,
    plateau_magnitudes,
    walker,
)
from pullback.surfaces import SURFACES, Bowl, Plateau


@pytest.fixture(scope="module")
def magnitudes():
    return plateau_magnitudes()


def among(order, names):
    return tuple(name for name in order if name in names)


def test_a_path_is_that_of_the_rule_by_hand():
    """SGD on a bowl: x falls by the factor 1 − rate/condition in every step, y by 1 − rate."""
    (path,) = picture("bowl", Bowl(20.0), [walker("sgd", 0.1)], 10).paths
    powers = np.arange(11)
    expected = np.stack([-8 * (1 - 0.1 / 20) ** powers, 1.5 * 0.9**powers], axis=1)
    np.testing.assert_allclose(path.points, expected, rtol=1e-12)
    np.testing.assert_allclose(path.values, 0.5 * (expected**2 @ [1 / 20, 1]), rtol=1e-12)
    np.testing.assert_allclose(path.updates[0], np.hypot(0.1 * 8 / 20, 0.1 * 1.5), rtol=1e-12)
    assert path.rate == 0.1


def test_a_map_is_the_function():
    drawn = picture("bowl", Bowl(4.0), [], 1)
    np.testing.assert_allclose(drawn.field, 0.5 * (drawn.x[None] ** 2 / 4 + drawn.y[:, None] ** 2))


def test_the_chosen_rate_is_the_best_of_the_grid():
    (chosen,) = picture("bowl", Bowl(20.0), [walker("momentum")], 30).paths
    assert chosen.rate in RATES
    ends = {
        rate: picture("bowl", Bowl(20.0), [walker("momentum", rate)], 30).paths[0]
        for rate in (chosen.rate / 2, chosen.rate, 0.01)
    }
    np.testing.assert_allclose(ends[chosen.rate].points, chosen.points, rtol=1e-12)
    assert min(ends, key=lambda rate: ends[rate].values[-1]) == chosen.rate


def test_a_path_that_leaves_the_window_is_not_chosen():
    def stays(path):
        low, high = np.array(Plateau().window).T
        return np.all((low <= path.points) & (path.points <= high))

    walkers = [walker("momentum"), *(walker("momentum", rate) for rate in RATES)]
    chosen, *all_rates = picture("plateau", Plateau(), walkers, 100).paths
    assert stays(chosen)
    lower = [path for path in all_rates if path.values[-1] < chosen.values[-1]]
    assert lower
    assert not any(map(stays, lower))


def test_a_method_leaves_its_path():
    (path,) = picture("bowl", Bowl(20.0), [walker("newton:damping=0.0")], 10).paths
    np.testing.assert_allclose(path.points, [[-8, 1.5], [0, 0]], atol=1e-12)
    assert path.rate is None


def test_what_walks_is_read():
    assert walker("momentum:momentum=0.8,nesterov=true", 1).walks == Momentum(
        1.0, 0.8, nesterov=True
    )
    assert walker("sgd:learning_rate=1").walks == SGD(1.0)
    assert not walker("sgd:learning_rate=1").choose
    assert walker("sgd").choose
    assert walker("newton", 0.1).walks == Newton()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("adm", "did you mean 'adam'"),
        ("clip-by-norm", "nothing called"),
        ("adam:b3=1.0", "no setting 'b3'"),
        ("adam:b1=true", "of type float"),
        ("adam:b1=1.5", "b1 must be in"),
        ("adam:b1", "key=value"),
        ("lbfgs:history=2.5", "of type int"),
    ],
)
def test_what_cannot_walk_is_refused(text, told):
    with pytest.raises(ConfigError, match=told):
        walker(text)


# What the sheets claim of plateaus. Their first order is right of a plateau that is reached down a
# slope, and wrong of one where training begins; their second is right of neither.


def test_momentum_is_the_longest_on_a_plateau_after_a_slope_only(magnitudes):
    begun, reached = magnitudes
    for step in range(200):
        assert among(reached.order(step), CLAIMED_ON_A_PLATEAU) == CLAIMED_ON_A_PLATEAU
        assert among(begun.order(step), CLAIMED_ON_A_PLATEAU)[-1] == "momentum"
    assert among(begun.order(199), CLAIMED_ON_A_PLATEAU) == ("adam", "adagrad", "momentum")


def test_the_long_order_is_right_at_no_step(magnitudes):
    for situation in magnitudes:
        for step in range(200):
            assert situation.order(step) != CLAIMED_WHERE_GRADIENTS_VANISH


def test_the_orders_that_are(magnitudes):
    begun, reached = magnitudes
    assert begun.order(199) == (
        "rmsprop, momentum",
        "adam, not corrected",
        "rmsprop",
        "adam",
        "adagrad",
        "nesterov",
        "momentum",
        "sgd",
    )
    assert reached.order(0) == (
        "momentum",
        "nesterov",
        "rmsprop, momentum",
        "adam, not corrected",
        "adam",
        "sgd",
        "rmsprop",
        "adagrad",
    )


def test_bias_correction_makes_steps_shorter_never_longer(magnitudes):
    """Without it a step is (1 − b1^t)/√(1 − b2^t) times as long: the sheets claim the reverse."""
    for situation in magnitudes:
        t = np.arange(1, len(situation.updates["adam"]) + 1)
        ratio = situation.updates["adam, not corrected"] / situation.updates["adam"]
        np.testing.assert_allclose(ratio, (1 - 0.9**t) / np.sqrt(1 - 0.999**t), rtol=1e-3)  # eps
        assert np.all(ratio > 1)


def test_rmsprop_is_never_shorter_than_adagrad(magnitudes):
    """The last two of the long order are right: AdaGrad divides by all squares, not the last."""
    for situation in magnitudes:
        assert np.all(situation.updates["rmsprop"] > situation.updates["adagrad"])


def test_newtons_step_on_a_plateau_does_not_vanish_but_may_lead_back():
    """Where a slope ends as e^(−2x) the step g/H is ½, however small g is: the sheets' first place.

    On the far half the curvature is negative, and the step as long, and back.
    """
    with jax.enable_x64(True):
        for x, direction in ((-1.0, 1), (1.0, -1)):
            at = jnp.array([x, 0.0])
            step = minimise(Newton(0.0), Plateau(), at, 1, 1e-12).params[0] - x
            assert abs(float(Plateau().gradient(at)[0])) < 0.05
            assert 0.4 < float(step) * direction < 0.6


def test_nesterov_overshoots_less_after_a_steep_slope():
    surface = SURFACES["steep-then-flat"]
    walkers = [walker(text, 0.05) for text in ("momentum", "momentum:nesterov=true")]
    plain, ahead = picture("slope", surface, walkers, 60).paths
    assert plain.points[:, 0].max() > ahead.points[:, 0].max() + 0.5


# Early stopping and L2.


def test_the_shares_agree_where_little_of_the_way_is_gone():
    """They part by s/2 of themselves, s = τελ."""
    for s in (1e-2, 1e-3):
        descent, ridge = descent_share(1.0, s / 1000, 1000), ridge_share(1.0, 1 / s)
        np.testing.assert_allclose(descent / ridge - 1, s / 2, rtol=0.01)


def test_the_shares_are_never_further_apart_than_said():
    steps, rate = np.arange(1, 200_000), 1e-4
    descent, ridge = descent_share(1.0, rate, steps), ridge_share(1.0, 1 / (steps * rate))
    apart, ratio = descent - ridge, descent / ridge
    np.testing.assert_allclose((apart.max(), ratio.max()), (0.2036, 1.298), atol=1e-3)
    np.testing.assert_allclose(
        rate * steps[[apart.argmax(), ratio.argmax()]], (2.51, 1.79), atol=0.01
    )


def test_descent_and_ridge_on_a_regression_are_the_shares_along_its_curvatures():
    """The oracle of the two formulas: weights that were really trained, and solved for."""
    x, t = early_stopping.example()
    found = compare(x, t, 0.1, [1, 30, 1000])
    x, t = x - x.mean(axis=0), t - t.mean(axis=0)
    h = x.T @ x / len(x)
    curvatures, axes = np.linalg.eigh(h)
    least = axes.T @ np.linalg.solve(h, x.T @ t / len(x))
    for tau, strength, distance in zip(found.steps, found.strengths, found.distances, strict=True):
        descent = descent_share(curvatures, 0.1, tau)[:, None] * least
        ridge = ridge_share(curvatures, strength)[:, None] * least
        expected = np.linalg.norm(descent - ridge) / np.linalg.norm(ridge)
        np.testing.assert_allclose(distance, expected, rtol=1e-8)


def test_stopping_is_near_l2_with_that_strength_and_far_from_it_with_another():
    x, t = early_stopping.example()
    found = compare(x, t, 0.01, [3, 30, 300, 3000])
    assert np.all(found.distances < 0.298)
    assert found.distances[0] < 0.02  # s is 0.03 at most
    assert np.all(found.distances < 0.45 * found.remaining)  # ridge itself is not near everything


@pytest.mark.parametrize(("rate", "steps"), [(0.0, [1]), (9.0, [1]), (0.1, [2, 1]), (0.1, [0])])
def test_a_senseless_comparison_is_refused(rate, steps):
    with pytest.raises(ConfigError):
        compare(*early_stopping.example(), rate, steps)


# The command.


def test_the_command_draws_what_is_asked(tmp_path):
    words = ["--surface", "bowl", "--rule", "sgd", "--rule", "lbfgs", "--rate", 0.5, "--steps", 20]
    shown = json.loads(invoke("paths", *words, "--out", tmp_path / "p", "--json").stdout)
    first, second = shown["paths"]
    assert (first["rule"], first["learning_rate"], first["steps"]) == ("sgd", 0.5, 20)
    assert len(first["updates"]) == 20
    assert (second["rule"], second["learning_rate"]) == ("lbfgs", None)
    page = (tmp_path / "p" / "paths.html").read_text()
    assert shown["page"] == str(tmp_path / "p" / "paths.html")
    assert page.count("<img") == 3
    assert "<script" not in page
    assert "<svg" in (tmp_path / "p" / "paths-bowl.svg").read_text()
    assert "what walks" in page


def test_the_command_draws_the_loss_of_a_run(tmp_path):
    run = tmp_path / "run"
    invoke("train", *settings(train__epochs=1), "--out", run)
    surface, model = plane_of(run), load_model(run)
    for ours, saved in zip(*map(jax.tree.leaves, (surface.params, model.params)), strict=True):
        np.testing.assert_array_equal(ours, saved)
    with jax.enable_x64(True):
        value = surface.value(jnp.zeros(2))
    final = json.loads((run / "result.json").read_text())["final"]["train"]["loss"]
    np.testing.assert_allclose(value, final, rtol=1e-5)
    words = ["--run", run, "--rule", "adam", "--steps", 5, "--out", tmp_path / "p", "--json"]
    (path,) = json.loads(invoke("paths", *words).stdout)["paths"]
    assert path["surface"] == "loss-of-run"


def test_the_command_refuses_in_one_sentence(tmp_path):
    out = ["--out", tmp_path / "p"]
    assert "did you mean 'beale'" in refused("paths", "--surface", "beal", *out, code=2)
    assert "at least 1 step" in refused("paths", "--steps", 0, *out, code=2)
    assert not (tmp_path / "p").exists()
