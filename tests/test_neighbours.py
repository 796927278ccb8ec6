"""The nearest training images are scikit-learn's; images unlike any are told apart."""

import numpy as np
import pytest
import skops.io
from sklearn.neighbors import NearestNeighbors

from hybrid.statistics.neighbours import neighbours, remember, unlike


def draw(n, seed):
    return np.abs(np.random.default_rng(seed).normal(size=(n, 32)) * 0.3 + np.eye(1, 32) * 3)


def test_neighbours_equal_scikit_learns():
    train, new = draw(700, 0), draw(300, 1)
    indices, distances = neighbours(remember(train), new, k=4)
    expected, rows = NearestNeighbors(n_neighbors=4, metric="cosine").fit(train).kneighbors(new)
    np.testing.assert_array_equal(indices, rows)
    np.testing.assert_allclose(distances, expected, atol=1e-6)


def test_ordinary_images_are_called_unlike_as_rarely_as_stated():
    memory = remember(draw(500, 0))
    for quantile in (0.8, 0.95):
        assert np.mean(unlike(memory, draw(2000, 1), quantile)) == pytest.approx(1 - quantile, abs=0.03)


def test_of_many_images_some_tell_how_far_apart_they_are(monkeypatch):
    train, groups = draw(1000, 0), np.arange(1000)
    train[1::2], groups[1::2] = train[::2], groups[::2]
    whole = remember(train, groups)["distances"]
    monkeypatch.setattr("hybrid.statistics.neighbours.TELLING", 250)
    some = remember(train, groups)["distances"]
    assert len(some) == 250
    assert np.median(some) == pytest.approx(np.median(whole), rel=0.05)


def test_strange_empty_and_broken_images_are_unlike():
    memory = remember(draw(100, 0))
    strange = np.roll(draw(3, 1), 5, axis=1)
    strange[1], strange[2] = 0, np.nan
    assert unlike(memory, strange).all()


def test_duplicates_do_not_narrow_what_counts_as_like():
    train = draw(200, 0)
    twice, groups = np.vstack([train, train]), np.tile(np.arange(200), 2)
    assert unlike(remember(twice), draw(500, 1)).mean() > 0.9
    assert unlike(remember(twice, groups), draw(500, 1)).mean() < 0.1


def test_the_memory_needs_no_trust_from_skops():
    memory = remember(draw(20, 0))
    stored = skops.io.dumps(memory)
    assert skops.io.get_untrusted_types(data=stored) == []
    np.testing.assert_array_equal(skops.io.loads(stored)["features"], memory["features"])


def test_wrong_numbers_are_refused():
    memory = remember(draw(5, 0))
    with pytest.raises(ValueError, match="k=6, but expected 1 to 5"):
        neighbours(memory, draw(1, 1), k=6)
    with pytest.raises(ValueError, match="between 0 and 1"):
        unlike(memory, draw(1, 1), quantile=95)
    with pytest.raises(ValueError, match="two or more different"):
        remember(draw(3, 0), groups=[1, 1, 1])
