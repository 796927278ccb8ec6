"""A learning curve is measured on the given folds, and extrapolated only as far as it tells."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

from hybrid.statistics.curve import Curve, forecast, learning_curve, stratified_order
from hybrid.statistics.intervals import wilson
from hybrid.statistics.splits import folds

SIZES = (24.0, 40.0, 64.0, 96.0, 128.0, 160.0)


def curve(accuracy, noise=0.01, n_folds=10, sizes=SIZES):
    rng = np.random.default_rng(0)
    level = rng.normal(0, noise, n_folds)
    values = tuple(tuple((accuracy(n) + level + rng.normal(0, noise, n_folds)).tolist()) for n in sizes)
    return Curve(sizes, values, n_test=40.0, n_classes=4)


def test_every_beginning_of_the_order_is_stratified():
    y = np.repeat(["ant", "bee", "cat"], [60, 30, 10])
    order = stratified_order(y)
    assert sorted(order) == list(range(100))
    assert set(y[order[:3]]) == {"ant", "bee", "cat"}
    for n in (10, 20, 50):
        counts = np.unique(y[order[:n]], return_counts=True)[1]
        assert np.abs(counts - np.array([0.6, 0.3, 0.1]) * n).max() <= 1


def test_the_curve_rises_on_the_given_folds():
    rng = np.random.default_rng(0)
    y = np.arange(300) % 3
    x = rng.normal(size=(300, 40)) + 0.8 * np.eye(3, 40)[y] * 2
    split = folds(y, n_splits=5)
    predict = lambda train, test: NearestCentroid().fit(x[train], y[train]).predict(x[test])  # noqa: E731
    found = learning_curve(predict, y, split)
    assert found.sizes == pytest.approx([36, 60, 96, 144, 192, 240])
    assert np.mean(found.values[-1]) > np.mean(found.values[0]) + 0.03
    whole = [np.mean(predict(a, b) == y[b]) for a, b in split]
    assert found.values[-1] == pytest.approx(whole)


def test_a_power_law_is_recovered():
    law = lambda n: 0.97 - 0.8 * n**-0.5  # noqa: E731
    result = forecast(curve(law, noise=0.003), factor=4)
    assert result.more == 150
    assert result.then == pytest.approx(law(640), abs=0.01)
    assert result.low <= law(640) <= result.high
    least, most = wilson(result.then, 200)
    assert result.low == pytest.approx(least, abs=0.005)
    assert result.high == pytest.approx(most, abs=0.005)
    assert result.sentence.startswith("About 150 more images a class would bring accuracy from 0.9")


def test_a_curve_that_is_flat_promises_nothing():
    result = forecast(curve(lambda n: 0.95, noise=0.004))
    assert "hardly change accuracy" in result.sentence
    assert result.low <= 0.95 <= result.high


@pytest.mark.parametrize("seed", range(20))
def test_more_images_are_never_said_to_do_harm_nor_surer_than_so_many_tell(seed):
    """Of 40 images, 0.999 was foretold after 1.000, within 0.994 to 1.000."""
    right = np.random.default_rng(seed).random((6, 10, 20)) < 0.97
    result = forecast(Curve(SIZES, tuple(map(tuple, right.mean(axis=2).tolist())), n_test=20.0, n_classes=2))
    if result.then is not None:
        assert result.then >= result.now
        least, most = wilson(result.then, 180)
        assert result.low <= least <= result.then <= most <= result.high


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (curve(lambda n: 0.9 - n / 1000), "accuracy falls"),
        (curve(lambda n: 0.5 + 0.4 * (n > 90), noise=0.005), "no power law fits"),
        (curve(lambda n: 0.7 - n**-0.5, noise=0.15), "is possible"),
        (curve(lambda n: 0.9 - n**-0.5, sizes=SIZES[:3]), "3 sizes and 10 folds are too few"),
        (curve(lambda n: 0.9 - n**-0.5, sizes=SIZES[:1]), "1 size and 10 folds are too few"),
        (curve(lambda n: 1 - 0.1 * (n < 50), noise=0), "the curve has reached 1.000"),
        (curve(lambda n: 0.9 - n**-0.5, n_folds=2), "6 sizes and 2 folds are too few"),
    ],
)
def test_a_curve_that_does_not_tell_gives_no_figures(bad, reason):
    result = forecast(bad)
    assert result.then is result.low is result.high is None
    assert "cannot be told" in result.sentence
    assert reason in result.sentence


@pytest.mark.parametrize("factor", [1, 4.5])
def test_no_forecast_reaches_beyond_four_times_the_images(factor):
    with pytest.raises(ValueError, match="up to 4 times"):
        forecast(curve(lambda n: 0.9 - n**-0.5), factor)


def test_a_forecast_is_plain_data():
    json.dumps(asdict(forecast(curve(lambda n: 0.97 - n**-0.5))))
