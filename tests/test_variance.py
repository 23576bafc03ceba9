"""The variance of values and cotangents by layer: what theory promises, and its figure."""

from __future__ import annotations

from xml.etree import ElementTree as Xml

import numpy as np
import pytest

from pullback.catalogue.variance import CA6_WIDTHS, Level, Signal, variance_by_layer
from pullback.initializer import Constant, Glorot, He, LeCun, Normal, Orthogonal, Zeros
from pullback.maps import Identity, Relu, Selu, Tanh
from pullback.report.figures.variance import initializer_variance

WIDTHS = (200, 200, 200, 200, 100)


def ratios(initializer, activation, widths=WIDTHS):
    """By how much the variance of values grows at each affine map, and that of cotangents."""
    levels = variance_by_layer(initializer, activation, widths, examples=300).levels
    values, cotangents = (np.array([level[i] for level in levels]) for i in (1, 2))
    return values[1:] / values[:-1], cotangents[:-1] / cotangents[1:]


@pytest.mark.parametrize(
    ("initializer", "variance"),
    [(LeCun(), 1 / 200), (He(), 2 / 200), (Glorot(), 2 / 400), (Normal(0.05), 0.0025)],
    ids=str,
)
def test_linear_layers_multiply_the_variance_by_fan_in_and_fan_out(initializer, variance):
    up, down = ratios(initializer, Identity())
    np.testing.assert_allclose(up[:3], 200 * variance, rtol=0.12)
    np.testing.assert_allclose(down[:3], 200 * variance, rtol=0.12)


def test_an_orthogonal_draw_keeps_the_variance_of_linear_layers_itself():
    up, down = ratios(Orthogonal(), Identity())
    np.testing.assert_allclose(up[:3], 1, rtol=1e-4)
    np.testing.assert_allclose(down[:3], 1, rtol=1e-4)


def test_selu_has_its_fixed_point_under_lecun_on_the_network_of_ca6():
    signal = variance_by_layer(LeCun(), Selu())
    assert [level.wire for level in signal.levels] == [
        "x",
        *(f"selu{i}" for i in (1, 2, 3, 4)),
        "affine5",
    ]
    assert len(signal.levels) == len(CA6_WIDTHS)
    assert all(level.value == pytest.approx(1, abs=0.15) for level in signal.levels[:-1])


def test_he_keeps_the_cotangents_of_relu_and_lecun_halves_them():
    _, down = ratios(He(), Relu())
    np.testing.assert_allclose(down[1:3], 1, rtol=0.15)
    _, down = ratios(LeCun(), Relu())
    np.testing.assert_allclose(down[1:3], 0.5, rtol=0.15)


def test_zeros_pass_nothing_in_either_direction():
    levels = variance_by_layer(Zeros(), Tanh(), (6, 5, 4, 3)).levels
    assert all(level.value == 0 for level in levels[1:])
    assert all(level.cotangent == 0 for level in levels[:-1])


def signal(initializer, activation, *sizes):
    return Signal(initializer, activation, tuple(Level(f"w{s}", s, s) for s in sizes))


def test_the_figure_draws_one_of_each_kind_and_its_table_has_all():
    drawn = [
        signal(each, activation, 1.0, 0.1, 0.01)
        for activation in (Tanh(), Relu())
        for each in (He(), He("uniform"), Constant(0.1))
    ]
    drawn += [signal(Zeros(), activation, 1.0, 0.0, 0.0) for activation in (Tanh(), Relu())]
    figure = initializer_variance(drawn)
    texts = [
        text.text for text in Xml.fromstring(figure.image).iter("{http://www.w3.org/2000/svg}text")
    ]
    for once in ("He(distribution='normal')", "Constant(value=0.1)", "Zeros()", "values, Relu"):
        assert texts.count(once) == 1
    assert "He(distribution='uniform')" not in texts
    assert texts.count("x") == texts.count("y") == 4
    assert len(figure.table.rows) == figure.table.total == 2 * len(drawn)
    assert figure.table.rows[2] == (
        "Tanh",
        "He(distribution='uniform')",
        "values",
        "1",
        "0.1",
        "0.01",
    )
    assert figure.table.worded == [1, 2, 3]
    assert "under Tanh: He(distribution='normal') 0.1" in figure.alt
