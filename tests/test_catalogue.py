"""The check of the whole catalogue rejects what is wrong; the page shows all there is."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import re
import shutil
from dataclasses import dataclass
from pathlib import Path

import command
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import test_slips
from cases import INITIALIZERS, LOSSES, MAPS, PENALTIES, MapCase

from pullback import config
from pullback.catalogue import curves, precision, variance, verify
from pullback.catalogue.cases import LossCase
from pullback.catalogue.document import document
from pullback.catalogue.slips import SLIPS
from pullback.catalogue.verification import Row, Verification
from pullback.initializer import He
from pullback.loss import SquaredError
from pullback.maps import Affine, BinaryStep, Dropout, Elementwise, HardTanh, Relu, Softmax, Tanh
from pullback.penalty import L1, L2
from pullback.report import catalogue


@dataclass(frozen=True)
class SlightlyWrong(Tanh):
    def slope(self, kept):
        return super().slope(kept) * (1 + 1e-6)


@dataclass(frozen=True)
class Undefined(Tanh):
    def slope(self, kept):
        return super().slope(kept) * jnp.nan


@dataclass(frozen=True)
class Overflowing(Tanh):
    """Right in float64 at inputs of about one; in float32 e^100 is infinite."""

    def value(self, x):
        return (jnp.exp(2 * x) - 1) / (jnp.exp(2 * x) + 1)


@dataclass(frozen=True)
class Cancelling(Elementwise):
    """y = 2e4 x, of which float32 keeps four digits."""

    def value(self, x):
        return (x + 1e4) ** 2 - x * x - 1e8

    def slope(self, kept):
        return jnp.full_like(kept, 2e4)


@pytest.mark.parametrize("map", [Tanh(), Affine(3), Softmax()], ids=str)
def test_a_right_map_passes_in_both_modes(map):
    rows = verify.verify_map(MapCase("right", map))
    assert [row.mode for row in rows] == ["training", "evaluation"]
    assert all(row.ok for row in rows)
    assert rows[0].entries == 20 + (15 if isinstance(map, Affine) else 0)


@pytest.mark.parametrize(
    ("map", "error"),
    [
        (SlightlyWrong(), "differences"),
        (SlightlyWrong(), "autodiff"),
        (Undefined(), "differences"),
        (Undefined(), "float32"),
        (Overflowing(), "float32"),
        (Cancelling(), "float32"),
    ],
    ids=str,
)
def test_a_wrong_map_fails(map, error):
    row = verify.verify_map(MapCase("wrong", map))[0]
    assert not row.ok
    right = verify.verify_map(MapCase("right", Tanh()))[0]
    assert not dataclasses.replace(right, **{error: getattr(row, error)}).ok


def test_what_draws_is_not_compared_between_precisions_but_its_evaluation_is():
    training, evaluation = verify.verify_map(MapCase("dropout", Dropout(0.5)))
    assert training.ok
    assert training.float32 is None
    assert evaluation.float32 == 0


def test_an_estimate_is_checked_against_its_surrogate():
    step = MapCase("step", BinaryStep(straight_through=True), surrogate=HardTanh())
    assert all(row.ok for row in verify.verify_map(step))
    wrong = dataclasses.replace(step, surrogate=Tanh())
    assert not any(row.ok for row in verify.verify_map(wrong))


def test_float32_is_tried_at_nothing_and_at_the_reach():
    seen = []

    def look(fixed, x):
        jax.debug.callback(lambda x: seen.append(np.asarray(x)), x)
        return x

    assert precision.compare(look, (), np.zeros((2, 3), np.float32), reach=77.0) == 0
    jax.effects_barrier()
    sizes = [np.abs(x).max() for x in seen]
    assert min(sizes) == 0
    assert 0.9 * 77 <= max(sizes) <= 77


@dataclass(frozen=True)
class Unweighted(SquaredError):
    def reverse(self, saved):
        z, t, _ = saved
        return self.slopes(z, t) / len(z)


def test_a_loss_that_forgets_the_weights_fails_with_random_ones():
    uniform, random = verify.verify_loss(LossCase("wrong", Unweighted()))
    assert uniform.ok
    assert not random.ok
    assert all(row.ok for row in verify.verify_loss(LossCase("right", SquaredError())))


@dataclass(frozen=True)
class DoublySoft(L1):
    def prox(self, params, step):
        return super().prox(params, 2 * step)


@dataclass(frozen=True)
class Doubled(L2):
    def slope(self, w):
        return 2 * w


def test_a_wrong_penalty_fails_where_it_is_wrong():
    assert [row.ok for row in verify.verify_penalty(L1(0.3))] == [True, True]
    assert [row.ok for row in verify.verify_penalty(DoublySoft(0.3))] == [True, False]
    assert [row.ok for row in verify.verify_penalty(Doubled(0.3))] == [False, True]


RIGHT = Row("map", "Tanh", "tanh", "training", 20, 1e-11, 0.0, 1e-7)


@pytest.mark.parametrize(
    "change",
    [
        {"differences": 1e-7},
        {"autodiff": 1e-12},
        {"float32": 1.1e-5},
        {"differences": math.nan},
        {"autodiff": math.nan},
        {"float32": math.inf},
    ],
    ids=str,
)
def test_one_error_too_large_fails_the_whole(change):
    assert Verification((RIGHT,)).ok
    wrong = dataclasses.replace(RIGHT, case="tampered", **change)
    outcome = Verification((RIGHT, wrong))
    assert not outcome.ok
    assert "a derivative is wrong: 1 classes, 2 checks, 40 derivatives" in str(outcome)
    assert "tampered, training" in str(outcome)
    error, value = next(iter(change.items()))
    assert str(outcome.worst(error)) == str(value)
    assert [row["ok"] for row in outcome.row()["rows"]] == [True, False]


@pytest.fixture
def tiny(monkeypatch):
    """A catalogue of three."""
    monkeypatch.setattr(verify, "MAPS", [MapCase("tanh", Tanh())])
    monkeypatch.setattr(verify, "LOSSES", [LossCase("squared error", SquaredError())])
    monkeypatch.setattr(verify, "PENALTIES", [L2(0.3)])
    return monkeypatch


def test_check_all_says_it_as_text_as_json_and_as_a_picture(tiny, tmp_path):
    text = command.invoke("check", "--all").stdout
    assert "every derivative is right: 3 classes, 6 checks" in text
    out = tmp_path / "new" / "check"
    told = json.loads(command.invoke("check", "--all", "--json", "--out", out).stdout)
    assert told["ok"] is True
    assert told["checks"] == len(told["rows"]) == 6
    assert told["thresholds"] == {"differences": 1e-7, "autodiff": 1e-12, "float32": 1e-5}
    written = json.loads((out / "check.json").read_text())
    assert written["rows"] == told["rows"]
    assert (out / "check.svg").read_text().startswith("<?xml")
    assert (out / "check.png").read_bytes().startswith(b"\x89PNG")


def test_check_all_ends_with_6_where_a_derivative_is_wrong(tiny):
    tiny.setattr(verify, "MAPS", [MapCase("wrong", SlightlyWrong())])
    result = command.invoke("check", "--all", code=6)
    assert "SlightlyWrong" in result.stdout
    assert command.sentence(result.stderr).startswith("2 of 6 checks of the catalogue failed")


def test_check_all_takes_no_experiment(tmp_path):
    assert "takes no experiment" in command.refused("check", "--all", "-s", "seed=1", code=2)
    assert "--out goes with --all" in command.refused("check", "--out", tmp_path, code=2)


@pytest.mark.long
def test_the_whole_catalogue_is_right():
    outcome = verify.verify()
    assert outcome.ok, str(outcome)


OPTIM = [*config.RULES.values(), *config.METHODS.values()]
KINDS = {
    "maps": list(dict.fromkeys(type(case.map) for case in MAPS)),
    "losses": list(dict.fromkeys(type(case.loss) for case in LOSSES)),
    "penalties": list(dict.fromkeys(type(penalty) for penalty in PENALTIES)),
    "initializers": list(dict.fromkeys(type(each) for each in INITIALIZERS)),
    "rules": OPTIM,
}


@pytest.mark.parametrize("kind", [kind for kinds in KINDS.values() for kind in kinds])
def test_every_docstring_comes_apart(kind):
    about = document(kind)
    labels = [label for label, _ in about.lines]
    assert about.summary.endswith(".")
    assert len(labels) == len(set(labels))
    assert all(text for _, text in about.lines)
    assert ">>>" not in repr(about)
    assert not any("  " in text for items in about.sections.values() for _, text in items)


EQUATIONS = {"maps": ("Forward", "Reverse"), "losses": ("Forward", "Reverse", "Link")}


@pytest.mark.parametrize("room", EQUATIONS)
def test_the_docstrings_of_maps_and_losses_have_their_equations(room):
    for kind in KINDS[room]:
        labels = dict(document(kind).lines)
        assert set(EQUATIONS[room]) <= set(labels) or kind.__name__ in ("Skip", "Towers"), kind


def test_every_activation_tells_its_range_smoothness_and_kink():
    for kind in KINDS["maps"]:
        if ".activation." in kind.__module__:
            assert {"Range", "Smooth", "Kink", "Source"} <= set(dict(document(kind).lines)), kind


@pytest.mark.parametrize("map", [Tanh(), Relu()], ids=str)
def test_a_curve_has_the_slope_of_its_values(map):
    plot = curves.of_map(map)
    assert plot is not None
    (curve,) = plot.curves
    smooth = np.abs(curve.x) > 0.05
    np.testing.assert_allclose(
        np.gradient(curve.value, curve.x)[smooth], curve.slope[smooth], atol=1e-3
    )


def test_what_acts_on_rows_or_changes_widths_has_no_curve():
    assert curves.of_map(Softmax()) is None
    assert curves.of_map(Affine(3)) is None


@pytest.mark.parametrize("case", LOSSES, ids=lambda case: case.name)
def test_every_loss_has_a_curve(case):
    for curve in curves.of_loss(case).curves:
        assert np.isfinite(curve.value).all()
        steps = np.abs(np.diff(curve.slope))
        inside = np.maximum(steps[1:], steps[:-1]) < 0.05  # no kink beside it
        numeric = np.gradient(curve.value, curve.x)[1:-1]
        np.testing.assert_allclose(numeric[inside], curve.slope[1:-1][inside], atol=0.1)


def test_every_slip_names_a_test_that_is_there_and_the_other_way_round():
    named = [slip.test.removeprefix("tests/test_slips.py::") for slip in SLIPS]
    there = [name for name in vars(test_slips) if name.startswith("test_")]
    assert sorted(named) == sorted(there)
    assert len(named) == len(set(named))


@pytest.fixture(scope="module")
def page(tmp_path_factory) -> Path:
    """The page, with the variance of one initialiser instead of all."""
    few = [variance.variance_by_layer(He(), Tanh(), (8, 6, 4))]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(catalogue, "signals", lambda: few)
        out = tmp_path_factory.mktemp("catalogue") / "catalogue.html"
        command.invoke("catalogue", "--out", out)
        return out


def test_the_page_shows_every_class_by_both_its_names_and_every_slip(page):
    text = page.read_text()
    for kind in [kind for kinds in KINDS.values() for kind in kinds]:
        assert f">{kind.__name__}" in text
    rules = (config.RULES, config.METHODS)
    for registry in (config.LAYERS, config.LOSSES, config.PENALTIES, *rules):
        for name, kind in registry.items():
            assert f'{kind.__name__} <code class="name">{name}</code>' in text
    for slip in SLIPS:
        assert slip.test in text


def test_the_page_holds_all_it_shows(page):
    text = page.read_text()
    assert "<script" not in text
    assert set(re.findall(r'src="([a-z]+):', text)) == {"data"}
    assert not re.search(r'(src|href)="https?:', text)
    ids = re.findall(r' id="([^"]+)"', text)
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'href="#([^"]+)"', text)) <= set(ids)


@pytest.mark.browser
def test_a_browser_opens_the_page_offline_without_a_complaint(page):
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        pytest.skip("chromium is not installed")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # its sandbox refuses root
    requests, complaints = [], []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=arguments)
        for width in (360, 1200):
            tab = browser.new_page(viewport={"width": width, "height": 900})
            tab.on("request", lambda request: requests.append(request.url))
            tab.on("console", lambda message: complaints.append(message.text))
            tab.on("pageerror", lambda error: complaints.append(str(error)))
            tab.goto(page.as_uri())
            tab.eval_on_selector_all("details", "all => all.forEach(d => d.open = true)")
            assert tab.evaluate("document.documentElement.scrollWidth") <= width
            natural = tab.eval_on_selector_all(
                "img", "all => all.map(i => Math.min(i.naturalWidth, i.naturalHeight))"
            )
            assert len(natural) > 30
            assert min(natural) > 100
            alts = tab.eval_on_selector_all("img", "all => all.map(i => i.alt)")
            assert min(map(len, alts)) > 20
        browser.close()
    assert [url for url in requests if not url.startswith("data:")] == [page.as_uri()] * 2
    assert complaints == []
