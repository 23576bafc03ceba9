"""Early stopping, ends and the weights that are kept: by a history that is known beforehand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import numpy as np
import pytest

from pullback import config, experiment
from pullback.data import Batches
from pullback.errors import ConfigError, DivergedError
from pullback.loss import SquaredError
from pullback.maps import Affine, chain
from pullback.optim import SGD, ExponentialAverage, Plateau
from pullback.record import Record
from pullback.retrain import retrain
from pullback.train import Plan, Progress, Selection, Task, begin, fit

# One weight w, one example: loss ½ (w − t)², so that training to 1 passes the validation's 0.5.
TASK = Task(chain(Affine(1, bias=False)), SquaredError(), SGD(0.1), classifies=False)


def one(target: float) -> Batches:
    ones = np.ones((1, 1), np.float32)
    return Batches(ones, ones * np.float32(target), ones[0], 1, seed=0, limit_bytes=1e9)


def zero(rule: Any = TASK.rule):
    """The learner whose one weight is 0."""
    learner = begin(replace(TASK, rule=rule), 0, jax.ShapeDtypeStruct((1, 1), np.float32))
    params = jax.tree.map(lambda w: 0 * w, learner.params)
    return learner._replace(params=params)


def trained(selection: Selection, epochs=40, task=TASK, **more: Any) -> tuple[Any, Any]:
    more.setdefault("learner", zero(task.rule))
    return fit(
        task,
        one(1.0),
        Plan(epochs=epochs),
        parts={"validation": one(0.5)},
        selection=selection,
        **more,
    )


def weight(learner) -> float:
    return float(learner.params["affine1"]["weight"][0, 0])


# w after k steps from 0 with rate 0.1 is 1 − 0.9^k: 0.4686 after 6, and 0.5217, nearer, after 7.
BEST = 7


def test_patience_counts_evaluations_and_the_best_weights_come_back():
    learner, progress = trained(Selection(patience=3))
    assert progress.ended == "patience"
    assert progress.step == BEST + 3
    assert progress.best["step"] == BEST
    assert weight(learner) == pytest.approx(1 - 0.9**BEST, rel=1e-6)
    last, _ = trained(Selection(patience=3, keep="last"))
    assert weight(last) == pytest.approx(1 - 0.9 ** (BEST + 3), rel=1e-6)


def test_without_patience_the_best_are_kept_after_all_epochs():
    learner, progress = trained(Selection(keep="best"))
    assert (progress.ended, progress.epoch) == (None, 40)
    assert weight(learner) == pytest.approx(1 - 0.9**BEST, rel=1e-6)


def test_a_small_improvement_is_none():
    # The loss falls 0.125, 0.08, 0.048, 0.026, …: by more than 0.04 in one step, and then in two.
    _, progress = trained(Selection(patience=2, min_delta=0.04))
    assert progress.best["step"] == 3
    assert progress.step == 5


def test_a_target_ends_training_at_once():
    _, progress = trained(Selection(target=0.02))
    assert progress.ended == "target"
    assert progress.step == 4  # ½ (0.5 − 0.3439)² = 0.0122 is the first below 0.02


def test_a_score_is_better_when_it_rises():
    assert Selection(metric="accuracy").better(0.9, than=0.8)
    assert not Selection(metric="loss").better(0.9, than=0.8)
    assert Selection(metric="r2", target=0.5).reached(0.6)
    assert not Selection(metric="r2", target=0.5).reached(0.4)


def test_the_best_weights_survive_a_divergence():
    task = replace(TASK, rule=SGD(50.0))
    with pytest.raises(DivergedError) as caught:
        trained(Selection(keep="best"), 200, task)
    learner, progress = caught.value.last
    assert progress.best["step"] == 0
    assert weight(learner) == 0


def test_an_interruption_gives_the_best_and_saves_the_last():
    saved, ticks = [], []
    learner, progress = trained(
        Selection(keep="best"),
        save=lambda learner, progress, kept: saved.append(jax.device_get((learner, kept))),
        listen=lambda tick: ticks.append(tick.progress.step),
        interrupted=lambda: ticks[-1] >= 20,
    )
    assert progress.step >= 20
    assert weight(learner) == pytest.approx(1 - 0.9**BEST, rel=1e-6)
    last, kept = saved[-1]
    assert weight(last) == pytest.approx(1 - 0.9**progress.step, rel=1e-5)
    assert weight(kept) == weight(learner)


def test_patience_goes_on_where_it_was_after_a_resume():
    whole, saved, record = Record(), [], Record()
    _, end = trained(Selection(patience=5), record=whole)

    def save(learner, progress, kept):
        saved[:] = [jax.device_get((learner, kept)), Progress(**vars(progress)), record.size]

    ticks = []
    trained(
        Selection(patience=5),
        record=record,
        save=save,
        listen=lambda tick: ticks.append(tick.progress.step),
        interrupted=lambda: ticks[-1] >= BEST + 2,
    )
    (learner, kept), progress, size = saved
    assert 0 < progress.waited < 5
    record.truncate(size)
    resumed, again = trained(
        Selection(patience=5),
        learner=jax.device_put(learner),
        kept=jax.device_put(kept),
        progress=progress,
        record=record,
    )
    assert vars(again) == vars(end)
    assert weight(resumed) == pytest.approx(1 - 0.9**BEST, rel=1e-6)
    assert list(record.rows()) == list(whole.rows())


@pytest.mark.parametrize("steps", [1, 5, 8])
def test_training_ends_after_so_many_steps_wherever_in_an_epoch(steps):
    x = np.random.default_rng(0).standard_normal((4, 1)).astype(np.float32)
    batches = Batches(x, x, np.ones(4, np.float32), 1, seed=0, limit_bytes=1e9)
    record = Record()
    progress: Any
    _, progress = fit(
        TASK, batches, Plan(epochs=5, steps=steps), parts={"train": batches}, record=record
    )
    assert (progress.step, progress.ended) == (steps, "steps")
    assert progress.last["step"] == steps
    assert [row["step"] for row in record.rows("step")] == list(range(1, steps + 1))


def test_what_cannot_judge_is_refused():
    with pytest.raises(ConfigError, match="by the test part, evaluated are: validation"):
        trained(Selection(part="test", patience=1))
    with pytest.raises(ConfigError, match="by accuracy, measured are: loss, r2"):
        trained(Selection(metric="accuracy", patience=1))
    with pytest.raises(ConfigError, match="patience must be at least 0"):
        Selection(patience=-1)


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A finished run on digits that stopped early, with its best weights."""
    table = {
        "name": "early",
        "train": {"epochs": 30, "batch_size": 64},
        "network": {"hidden": [8]},
        "rule": {"learning_rate": 0.5},
        "selection": {"patience": 2},
        "check": {"enabled": False},
        "record": {"steps": 0, "layers": 0},
    }
    path = tmp_path_factory.mktemp("runs") / "early"
    return experiment.train(config.parse(table, "a test"), path)


def test_a_run_tells_why_it_ended_and_its_model_is_the_best(stopped):
    result = stopped.result
    assert (result["status"], result["ended"]) == ("done", "patience")
    assert result["final"] == {k: v for k, v in result["best"].items() if k != "value"} | {
        "value": result["best"]["validation"]["loss"]
    }
    again = experiment.evaluate(stopped.folder)
    assert again["validation"]["loss"] == pytest.approx(result["best"]["value"], rel=1e-6)
    end = next(iter(Record.read(stopped.folder / "metrics.jsonl").rows("end")))
    assert (end["reason"], end["keep"], end["step"]) == (
        "patience",
        "best",
        result["best"]["step"],
    )


def test_retraining_anew_takes_as_many_steps_on_both_parts(stopped, tmp_path):
    outcome = retrain(stopped.folder, "steps", tmp_path / "anew")
    assert outcome.result["steps"] == stopped.result["best"]["step"]
    data = next(iter(Record.read(outcome.folder / "metrics.jsonl").rows("data")))
    before = next(iter(Record.read(stopped.folder / "metrics.jsonl").rows("data")))
    assert data["train"] == before["train"] + before["validation"]


def test_retraining_on_goes_from_the_best_weights_to_the_same_error(stopped, tmp_path):
    outcome = retrain(stopped.folder, "error", tmp_path / "on")
    best = stopped.result["best"]
    rows = list(Record.read(outcome.folder / "metrics.jsonl").rows("evaluation"))
    assert rows[0]["validation"]["loss"] == pytest.approx(best["value"], rel=1e-6)
    assert outcome.result["ended"] == "target"
    assert rows[-1]["validation"]["loss"] <= best["train"]["loss"] < rows[-2]["validation"]["loss"]


def test_retraining_is_refused_where_nothing_told_how_long(stopped, tmp_path):
    table = {
        "data": {"split": [0.8, 0.0, 0.2]},
        "network": {"hidden": []},
        "train": {"steps": 1},
        "check": {"enabled": False},
    }
    plain = experiment.train(config.parse(table, "a test"), tmp_path / "plain")
    with pytest.raises(ConfigError, match="no validation part that judged"):
        retrain(plain.folder, "steps", tmp_path / "none")


def test_an_average_is_what_is_evaluated_and_kept():
    rule = ExponentialAverage(SGD(0.1), 0.5)
    record = Record()
    learner, _ = trained(
        Selection(), 2, replace(TASK, rule=rule), record=record, learner=zero(rule)
    )
    # w is 0.1 and 0.19; the average (0.25 · 0.1 + 0.5 · 0.19) / 0.75.
    average = (0.25 * 0.1 + 0.5 * 0.19) / 0.75
    assert weight(learner) == pytest.approx(average, rel=1e-5)
    last = list(record.rows("evaluation"))[-1]
    assert last["validation"]["loss"] == pytest.approx(0.5 * (0.5 - average) ** 2, rel=1e-5)


def test_a_plateau_hears_of_every_evaluation():
    rule = Plateau(SGD(0.1), cut=0.5, patience=3)
    ticks = []
    trained(
        Selection(),
        BEST + 4,
        replace(TASK, rule=rule),
        learner=zero(rule),
        save=lambda learner, progress, kept: ticks.append(float(learner.rule_state.factor)),
    )
    assert ticks == [1.0] * (BEST + 2) + [0.5, 0.5]
    with pytest.raises(ConfigError, match="by the test part"):
        trained(Selection(part="test"), 1, replace(TASK, rule=rule), learner=zero(rule))
