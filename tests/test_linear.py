"""Linear models by few steps are scikit-learn's, for every C, with weights and with two classes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.svm import LinearSVC

from hybrid.statistics.linear import ROUNDING, Axes, QuickSVC, linear_path, softmax, squared_hinge

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
def test_the_quick_machine_decides_as_scikit_learns(classes, width):
    rows, codes = blobs(240, width, classes)
    weights = np.where(np.arange(160) % 3, 1.0, 0.2)
    quick = make_pipeline(Axes(ROUNDING), QuickSVC(C=3.0))
    theirs = make_pipeline(LinearSVC(C=3.0, tol=1e-8, max_iter=100_000))
    for model in (quick, theirs):
        model.fit(rows[:160], codes[:160], **{f"{model.steps[-1][0]}__sample_weight": weights})
    np.testing.assert_allclose(quick.decision_function(rows), theirs.decision_function(rows), atol=0.02)
    assert np.mean(quick.predict(rows) == theirs.predict(rows)) >= 0.99


@pytest.mark.parametrize("shape", [(40, 200), (200, 40)])
def test_rows_keep_their_products_on_axes(shape):
    rows, _ = blobs(*shape, 2)
    axes = Axes(ROUNDING)
    placed = axes.fit_transform(rows)
    np.testing.assert_allclose(placed @ placed.T, rows @ rows.T, atol=1e-4)
    np.testing.assert_allclose(axes.directions_.T @ axes.directions_, np.eye(placed.shape[1]), atol=1e-3)
    spread = axes.spread_[axes.left_ :]
    np.testing.assert_allclose(placed.T @ placed / len(rows), np.diag(spread), atol=1e-5)


def test_axes_that_hold_next_to_nothing_are_left_out():
    rows, _ = blobs(200, 40, 2)
    rows[:, 10:] *= 0.01
    placed = Axes().fit_transform(rows)
    assert placed.shape[1] == 10
    assert (placed**2).sum() >= 0.99 * (rows**2).sum()


@pytest.mark.parametrize("width", [9, 3])
def test_rows_that_are_all_alike_are_no_obstacle(width):
    rows = Axes().fit_transform(np.zeros((6, width), np.float32))
    ((coefficients, intercepts),) = linear_path(rows, np.array([0, 1, 1, 1, 1, 1]), [10.0])
    assert (rows @ coefficients + intercepts).argmax(axis=1).tolist() == [1] * 6
