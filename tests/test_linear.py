"""Linear models by few steps are scikit-learn's, for every C, with weights and with two classes."""

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.svm import LinearSVC

from hybrid.statistics.linear import QuickSVC, Slope, linear_path, softmax, squared_hinge

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
    slope = Slope(rows)
    roots = [slope.at(1 / (C * len(rows))) for C in VALUES]
    found = linear_path(slope.rows[:160], roots, codes[:160], VALUES, loss, weights)
    for C, (coefficients, intercepts) in zip(VALUES, found, strict=True):
        theirs = model(C).fit(rows[:160], codes[:160], sample_weight=weights).predict(rows)
        ours = (slope.rows @ coefficients + intercepts).argmax(axis=1)
        assert np.mean(ours == theirs) >= 0.98


@pytest.mark.parametrize("width", [30, 300])
@pytest.mark.parametrize("classes", [2, 4])
def test_the_quick_machine_decides_as_scikit_learns(classes, width):
    rows, codes = blobs(240, width, classes)
    weights = np.where(np.arange(160) % 3, 1.0, 0.2)
    quick, theirs = (
        model.fit(rows[:160], codes[:160], sample_weight=weights)
        for model in (QuickSVC(C=3.0), LinearSVC(C=3.0, tol=1e-8, max_iter=100_000))
    )
    np.testing.assert_allclose(quick.decision_function(rows), theirs.decision_function(rows), atol=0.02)
    assert np.mean(quick.predict(rows) == theirs.predict(rows)) >= 0.99


def test_rows_wider_than_many_keep_their_products_on_fewer_columns():
    rows, _ = blobs(40, 200, 2)
    slope = Slope(rows)
    assert slope.rows.shape == (40, 40)
    np.testing.assert_allclose(slope.rows @ slope.rows.T, rows @ rows.T, atol=1e-4)


def test_rows_that_are_all_alike_are_no_obstacle():
    slope = Slope(np.zeros((6, 9), np.float32))
    ((coefficients, intercepts),) = linear_path(
        slope.rows, [slope.at(0.01)], np.array([0, 1, 1, 1, 1, 1]), [10.0]
    )
    assert (slope.rows @ coefficients + intercepts).argmax(axis=1).tolist() == [1] * 6
