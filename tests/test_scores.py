"""Scores agree with scikit-learn's, and survive classes that a fold lacks."""

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, f1_score, log_loss, roc_auc_score

from hybrid.statistics.scores import BOUNDS, held_out, score_folds, summary


@pytest.fixture
def answers():
    """True labels, probabilities and predictions of a fair classifier of five classes."""
    rng = np.random.default_rng(0)
    classes = np.array(["ant", "bee", "cat", "dog", "eel"])
    codes = rng.integers(5, size=300)
    logits = rng.normal(size=(300, 5)) + 2 * np.eye(5)[codes]
    probabilities = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return classes[codes], probabilities, classes[probabilities.argmax(axis=1)], classes


def one_fold(y, probabilities, predictions, classes):
    probabilities = None if probabilities is None else [probabilities]
    scores = score_folds(y, probabilities, [predictions], [([], np.arange(len(y)))], classes)
    return {name: values.item() for name, values in scores.items()}


def test_scores_equal_scikit_learns(answers):
    y, probabilities, predictions, classes = answers
    scores = one_fold(y, probabilities, predictions, classes)
    assert scores["accuracy"] == np.mean(y == predictions)
    assert scores["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(y, predictions))
    assert scores["macro_f1"] == pytest.approx(f1_score(y, predictions, average="macro"))
    assert scores["log_loss"] == pytest.approx(log_loss(y, probabilities, labels=classes))
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(y, probabilities, multi_class="ovr"))
    assert set(scores) == set(BOUNDS)


def test_binary_area_equals_scikit_learns():
    rng = np.random.default_rng(1)
    y = rng.integers(2, size=80)
    p = np.round(0.3 * y + 0.7 * rng.random(80), 1)  # with ties
    scores = one_fold(y, np.column_stack([1 - p, p]), (p > 0.5).astype(int), [0, 1])
    assert scores["roc_auc"] == pytest.approx(roc_auc_score(y, p))


def test_calibration_error_is_the_gap_between_confidence_and_accuracy():
    y = ["ant"] * 6 + ["bee"] * 4
    scores = one_fold(y, [[0.8, 0.2]] * 10, ["ant"] * 10, ["ant", "bee"])
    assert scores["calibration_error"] == pytest.approx(0.2)


def test_a_class_absent_from_a_fold_does_not_spoil_it(answers):
    y, probabilities, predictions, classes = answers
    rows = np.flatnonzero(y != "eel")
    scores = one_fold(y[rows], probabilities[rows], predictions[rows], classes)
    areas = [roc_auc_score(y[rows] == name, probabilities[rows, i]) for i, name in enumerate(classes[:4])]
    assert scores["roc_auc"] == pytest.approx(np.mean(areas))
    assert np.isfinite(list(scores.values())).all()


def test_a_fold_of_one_class_has_no_area():
    assert np.isnan(one_fold(["ant", "ant"], [[1, 0], [0, 1]], ["ant", "bee"], ["ant", "bee"])["roc_auc"])


def test_a_class_the_model_never_saw_counts_as_wrong():
    scores = one_fold(["ant", "yak"], [[0.9, 0.1], [0.4, 0.6]], ["ant", "bee"], ["ant", "bee"])
    assert scores["accuracy"] == 0.5
    assert scores["log_loss"] == pytest.approx(-(np.log(0.9) + np.log(1e-15)) / 2)


def test_without_probabilities_three_scores_remain(answers):
    y, _, predictions, classes = answers
    scores = one_fold(y, None, predictions, classes)
    assert set(scores) == {"accuracy", "balanced_accuracy", "macro_f1"}


def test_held_out_intervals_hold_their_scores(answers):
    y, probabilities, predictions, classes = answers
    for name, (value, low, high) in held_out(y, probabilities, predictions, classes).items():
        assert BOUNDS[name][0] <= low <= value <= high <= BOUNDS[name][1]
        assert 0.01 < high - low < 0.25, name


def test_a_perfect_test_set_is_not_certain():
    y = ["ant", "bee"] * 20
    scores = held_out(y, np.eye(2)[[0, 1] * 20], y, ["ant", "bee"])
    for name in ("accuracy", "balanced_accuracy", "macro_f1", "roc_auc"):
        assert scores[name][0] == scores[name][2] == 1.0
        assert 0.85 < scores[name][1] < 0.95
    assert str(scores["log_loss"]) == "(0.0, 0.0, 0.0)"


def test_summary_covers_folds_and_a_plain_test_set(answers):
    y, probabilities, predictions, classes = answers
    tests = np.array_split(np.arange(300), 5)
    folds = [(np.setdiff1d(np.arange(300), test), test) for test in tests]
    parts = ([p[test] for test in tests] for p in (probabilities, predictions))
    for scores in (
        summary(y, *parts, folds, classes),
        summary(y, [probabilities[:90]], [predictions[:90]], [(np.arange(90, 300), np.arange(90))], classes),
    ):
        assert set(scores) == set(BOUNDS)
        assert all(score["low"] <= score["mean"] <= score["high"] for score in scores.values())
