"""Intervals and tests agree with the formulas, and cover what they say."""

import numpy as np
import pytest
from scipy import stats
from sklearn.model_selection import StratifiedKFold

from hybrid.statistics.intervals import corrected_ttest, holm, interval, wilson


def test_wilson_equals_scipys():
    for hits, n in ((0, 12), (7, 10), (393, 400), (30, 30)):
        expected = stats.binomtest(hits, n).proportion_ci(0.9, method="wilson")
        assert wilson(hits / n, n, level=0.9) == pytest.approx((expected.low, expected.high))


def test_interval_is_scipys_with_the_corrected_error():
    values = np.array([0.81, 0.79, 0.86, 0.84, 0.78, 0.80])
    error = values.std(ddof=1) * np.sqrt(1 / 6 + 50 / 100)
    expected = stats.t.interval(0.95, 5, loc=values.mean(), scale=error)
    assert interval(values, n_train=100, n_test=50) == pytest.approx((values.mean(), *expected))


def test_interval_is_clipped_to_the_range():
    assert interval([0.7, 1.0, 1.0], 20, 10)[2] == 1.0
    assert interval([0.1, 2.0, 3.0], 20, 10, bounds=(0, np.inf))[1] == 0.0


def test_interval_leaves_out_missing_folds():
    assert interval([0.8, np.nan, 0.9], 20, 10) == interval([0.8, 0.9], 20, 10)
    assert np.isnan(interval([np.nan, np.nan], 20, 10)).all()
    assert interval([0.8], 20, 10)[0] == 0.8


def test_perfect_folds_are_not_certain():
    assert interval([1.0] * 5, n_train=80, n_test=20) == (1.0, *wilson(1.0, 100))


def nearest_mean_hits(train_x, train_y, x, y):
    return (
        ((x - train_x[train_y == 1].mean(0)) ** 2).sum(1) < ((x - train_x[train_y == 0].mean(0)) ** 2).sum(1)
    ) == y


def test_interval_covers_the_true_accuracy():
    rng = np.random.default_rng(0)
    draw = lambda n: (y := np.arange(n) % 2, rng.normal(size=(n, 5)) + 0.6 * y[:, None])  # noqa: E731
    covered, means = [], []
    for seed in range(150):
        y, x = draw(60)
        folds = StratifiedKFold(5, shuffle=True, random_state=seed).split(x, y)
        values = [nearest_mean_hits(x[train], y[train], x[test], y[test]).mean() for train, test in folds]
        covered.append(interval(values, 48, 12)[1:])
        fresh_y, fresh_x = draw(1000)
        means.append(nearest_mean_hits(x[:48], y[:48], fresh_x, fresh_y).mean())
    low, high = np.transpose(covered)
    assert np.mean((low <= np.mean(means)) & (np.mean(means) <= high)) >= 0.93


def test_paired_test_is_scipys_with_the_corrected_error():
    a = np.array([0.90, 0.85, 0.95, 0.90, 0.90, 0.88])
    b = np.array([0.80, 0.80, 0.85, 0.80, 0.85, 0.90])
    shrunk = np.sqrt((1 / 6) / (1 / 6 + 20 / 80))
    plain = stats.ttest_rel(a, b)
    difference, low, high, p = corrected_ttest(a, b, n_train=80, n_test=20)
    assert difference == pytest.approx(np.mean(a - b))
    assert p == pytest.approx(2 * stats.t.sf(plain.statistic * shrunk, 5))
    ends = plain.confidence_interval()
    assert (high - low) * shrunk == pytest.approx(ends.high - ends.low)


def test_equal_scores_do_not_differ():
    difference, low, high, p = corrected_ttest([0.9, 0.8, 0.7], [0.9, 0.8, 0.7], 80, 20)
    assert (difference, p) == (0.0, 1.0)
    assert low < 0 < high


def test_a_constant_difference_is_no_certainty():
    p = corrected_ttest([0.95, 0.85, 0.75], [0.9, 0.8, 0.7], n_train=80, n_test=20)[3]
    assert 0.005 < p < 0.1


@pytest.mark.parametrize(("a", "b", "message"), [([1, 2], [1], "same folds"), ([1], [1], "at least 2")])
def test_what_cannot_be_compared_is_named(a, b, message):
    with pytest.raises(ValueError, match=message):
        corrected_ttest(a, b, 80, 20)


def test_the_paired_test_keeps_its_level():
    rng = np.random.default_rng(0)
    # Folds of one data set share training images: a common part correlates their values.
    rejected = []
    for _ in range(400):
        shared = rng.normal(0, np.sqrt(0.2 / 0.8))
        rejected.append(corrected_ttest(shared + rng.normal(size=10), np.zeros(10), 80, 20)[3] < 0.05)
    assert np.mean(rejected) <= 0.07


def test_holm_keeps_order_and_stays_below_one():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    assert holm([0.9, 0.8]).max() == 1
