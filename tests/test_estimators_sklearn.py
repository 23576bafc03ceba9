"""The estimators inside scikit-learn: an example of each tool that users put around them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from pullback.estimators import NetworkClassifier, NetworkRegressor
from pullback.maps import LeakyRelu
from pullback.penalty import L1

random = np.random.default_rng(0)
X = random.normal(size=(90, 3)) * [1, 10, 100]
INSIDE = np.linalg.norm(X / [1, 10, 100], axis=1) < 1.4


def quick(**settings) -> Any:
    return NetworkClassifier(
        (16,), learning_rate=0.05, epochs=60, patience=0, random_state=0, **settings
    )


def test_in_a_pipeline():
    model = make_pipeline(StandardScaler(), quick()).fit(X, INSIDE)
    assert model.score(X, INSIDE) > 0.9
    assert_allclose(model.predict_proba(X).sum(axis=1), 1)
    weighted = model.fit(X, INSIDE, networkclassifier__sample_weight=np.where(INSIDE, 1e6, 1.0))
    assert weighted.predict(X)[INSIDE].all()


def test_in_a_grid_search_and_cross_validation():
    pipe = make_pipeline(StandardScaler(), quick())
    grid = {"networkclassifier__hidden": [(), (16,)]}
    search = GridSearchCV(pipe, grid, cv=3, error_score=np.nan).fit(X, INSIDE)
    assert search.best_params_ == {"networkclassifier__hidden": (16,)}  # no line parts a ball
    scores = cross_val_score(pipe, X, INSIDE, cv=3, error_score=np.nan)
    assert scores.mean() == pytest.approx(search.best_score_)


def test_calibrated():
    scaled = StandardScaler().fit_transform(X)
    model = CalibratedClassifierCV(quick(), cv=3).fit(scaled, INSIDE)
    assert model.predict_proba(scaled).shape == (90, 2)
    assert model.score(scaled, INSIDE) > 0.8
    margins = CalibratedClassifierCV(quick(loss="hinge"), cv=3).fit(scaled, INSIDE)
    assert ((margins.predict_proba(scaled)[:, 1] > 0.5) == INSIDE).mean() > 0.8


def test_a_clone_is_unfitted_and_equal():
    model = quick(activation=LeakyRelu(0.1), penalty=L1(1e-3), class_weight={True: 2.0})
    twin: Any = clone(model.fit(X, INSIDE))
    assert not hasattr(twin, "classes_")
    assert twin.get_params() == model.get_params()
    assert_array_equal(twin.fit(X, INSIDE).predict(X), model.predict(X))


def test_names_of_features_come_through():
    frame = pd.DataFrame(X, columns=["a", "b", "c"])
    scaler = StandardScaler().set_output(transform="pandas")
    model = make_pipeline(scaler, quick()).fit(frame, INSIDE)
    assert_array_equal(model[-1].feature_names_in_, ["a", "b", "c"])
    scaled = scaler.transform(frame)
    with pytest.raises(ValueError, match="feature names"):
        model[-1].predict(scaled[["b", "a", "c"]])
    same: Any = quick().fit(pl.DataFrame(scaled.to_numpy(), schema=["a", "b", "c"]), INSIDE)
    assert_array_equal(same.feature_names_in_, ["a", "b", "c"])
    assert_array_equal(same.predict(scaled), model.predict(frame))


def test_columns_of_categories():
    frame = pd.DataFrame({"size": X[:, 0], "colour": random.choice(["red", "green", "blue"], 90)})
    y = np.where((frame["colour"] == "red") == (frame["size"] > 0), "buy", "leave")
    columns = ColumnTransformer(
        [("numbers", StandardScaler(), ["size"]), ("categories", OneHotEncoder(), ["colour"])],
        sparse_threshold=1.0,  # sparse, so that the network is given a sparse matrix
    )
    model = make_pipeline(columns, quick()).fit(frame, pd.Series(y))
    assert model.score(frame, y) > 0.9


def test_targets_far_from_one():
    y = 1000 + X @ [50.0, 1.0, 0.1]
    net = NetworkRegressor((16,), learning_rate=0.02, epochs=100, patience=0, random_state=0)
    model = make_pipeline(
        StandardScaler(), TransformedTargetRegressor(net, transformer=StandardScaler())
    )
    assert model.fit(X, y).score(X, y) > 0.95
