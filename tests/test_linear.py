"""Linear models by few steps are scikit-learn's, for every C, with weights and with two classes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from hybrid.config import read_config
from hybrid.experiment.candidates import fit, read_candidates
from hybrid.statistics.linear import LEFT_OUT, Axes, QuickSVC, linear_path, softmax, squared_hinge

VALUES = [30.0, 3.0, 300.0]


def blobs(n, width, classes, seed=0):
    rng = np.random.default_rng(seed)
    codes = np.arange(n) % classes
    rows = rng.normal(size=(n, width)) + 1.5 * rng.normal(size=(classes, width))[codes]
    rows -= rows.mean(axis=0)
    return (rows / np.sqrt((rows**2).sum(axis=1).mean())).astype(np.float32), codes


@pytest.mark.parametrize("width", [30, 300])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(
    ("loss", "model"),
    [
        (softmax, lambda C: LogisticRegression(C=C, tol=1e-8, max_iter=5000)),
        (squared_hinge, lambda C: LinearSVC(C=C, tol=1e-8, max_iter=100_000)),
    ],
)
def test_labels_are_scikit_learns(loss, model, classes, width):
    rows, codes = blobs(240, width, classes)
    weights = np.where(np.arange(160) % 3, 1.0, 0.2)
    placed = Axes().fit_transform(rows)
    found = linear_path(placed[:160], codes[:160], VALUES, loss, weights)
    for C, (coefficients, intercepts) in zip(VALUES, found, strict=True):
        theirs = model(C).fit(rows[:160], codes[:160], sample_weight=weights).predict(rows)
        ours = (placed @ coefficients + intercepts).argmax(axis=1)
        assert np.mean(ours == theirs) >= 0.98


@pytest.mark.parametrize("width", [30, 300])
@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize(("C", "off"), [(3.0, 0.02), (300.0, 0.06)])
def test_the_quick_machine_decides_as_scikit_learns(C, off, classes, width):
    rows, codes = blobs(240, width, classes)
    weights = np.where(np.arange(160) % 3, 1.0, 0.2)
    quick = make_pipeline(Axes(), QuickSVC(C))
    theirs = make_pipeline(LinearSVC(C=C, tol=1e-8, max_iter=100_000))
    for model in (quick, theirs):
        model.fit(rows[:160], codes[:160], **{f"{model.steps[-1][0]}__sample_weight": weights})
    np.testing.assert_allclose(quick.decision_function(rows), theirs.decision_function(rows), atol=off)
    assert np.mean(quick.predict(rows) == theirs.predict(rows)) >= 0.99


@pytest.mark.parametrize("shape", [(40, 200), (200, 40)])
def test_rows_keep_their_products_on_axes(shape):
    rows, _ = blobs(*shape, 2)
    axes = Axes()
    placed = axes.fit_transform(rows)
    np.testing.assert_allclose(placed @ placed.T, rows @ rows.T, atol=1e-4)
    np.testing.assert_allclose(axes.directions_.T @ axes.directions_, np.eye(placed.shape[1]), atol=1e-3)
    np.testing.assert_allclose(placed.T @ placed / len(rows), np.diag(axes.spread_), atol=1e-5)


@pytest.mark.parametrize("mean", [0, 3])
def test_axes_that_hold_next_to_nothing_are_left_out(mean):
    rows, _ = blobs(200, 40, 2)
    rows[:, 10:] *= 0.01
    placed = Axes(LEFT_OUT).fit_transform(rows + np.float32(mean))
    # One more for the mean, where there is one.
    assert placed.shape[1] in (10, 11)
    assert placed.var(axis=0).sum() >= 0.99 * rows.var(axis=0).sum()


@pytest.mark.parametrize("width", [9, 3])
def test_rows_that_are_all_alike_are_no_obstacle(width):
    rows = Axes().fit_transform(np.zeros((6, width), np.float32))
    ((coefficients, intercepts),) = linear_path(rows, np.array([0, 1, 1, 1, 1, 1]), [10.0])
    assert (rows @ coefficients + intercepts).argmax(axis=1).tolist() == [1] * 6


def test_a_model_that_starts_on_axes_ends_as_one_that_does_not():
    rows, codes = blobs(400, 30, 3)
    config = read_config({"logistic": {"scaler": "none", "C": [3.0, 30.0]}, "model": {"kind": "logistic"}})
    candidate = read_candidates(config)[0]
    warm, cold = (fit(candidate, config, rows, codes, axes=axes) for axes in (Axes().fit(rows), None))
    np.testing.assert_allclose(warm.predict_proba(rows), cold.predict_proba(rows), atol=0.01)
    assert warm["classifier"].n_iter_ < cold["classifier"].n_iter_
