"""Planted duplicates are found, exactly; memory is bounded."""

import tracemalloc

import numpy as np
import pytest

from hybrid.statistics.duplicates import groups, members, merge_groups


def features(n, d=64, seed=0):
    """Features like a network's: no value below zero, a part in common, classes."""
    rng = np.random.default_rng(seed)
    return np.abs(rng.normal(size=(n, d)) + 0.5 * rng.normal(size=(10, d))[np.arange(n) % 10])


def pairs(labels):
    return [tuple(part) for part in members(labels)]


@pytest.mark.parametrize("n", [12, 300, 700])
def test_planted_duplicates_are_found_and_no_others(n):
    x = features(n)
    x[n - 2 :] = x[:2] * 3 + 0.02
    assert pairs(groups(x)) == [(0, n - 2), (1, n - 1)]


def test_many_copies_of_one_image_are_one_group():
    x = features(300)
    x[100:130] = x[0] + 0.02 * features(30, seed=1)
    assert pairs(groups(x)) == [(0, *range(100, 130))]


def test_a_network_that_finds_all_images_alike_does_not_make_them_duplicates():
    x = features(300) + 20
    x[299] = x[0]
    assert pairs(groups(x)) == [(0, 299)]


def test_a_higher_threshold_is_stricter():
    x = features(300)
    x[299] = x[0] + 0.1 * features(1, seed=1)[0]
    assert pairs(groups(x)) == [(0, 299)]
    assert pairs(groups(x, threshold=0.9999)) == []


def test_equal_rows_are_one_group_at_any_threshold():
    assert pairs(groups(np.tile(features(1), (600, 1)), threshold=1.0)) == [tuple(range(600))]


def test_rows_of_zeros_or_nan_are_alone():
    x = features(60)
    x[[3, 4]] = 0
    x[[5, 6], 7] = np.nan
    x[59] = x[0]
    assert pairs(groups(x)) == [(0, 59)]
    assert len(set(groups(np.zeros((3, 4))))) == 3
    assert groups(np.zeros((0, 4))).shape == (0,)


def test_features_are_left_as_they_were():
    x = features(30).astype(np.float32)
    before = x.copy()
    groups(x)
    np.testing.assert_array_equal(x, before)


def test_memory_is_far_below_all_cosines():
    x = features(4000, d=16).astype(np.float32)
    tracemalloc.start()
    groups(x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4000 * 4000 * 4 / 2


@pytest.mark.parametrize("threshold", [0, -0.5, 1.01])
def test_a_threshold_that_is_no_cosine_is_refused(threshold):
    with pytest.raises(ValueError, match="expected a cosine above 0"):
        groups(features(3), threshold)


def test_features_must_be_a_matrix():
    with pytest.raises(ValueError, match="one row an image"):
        groups([1.0, 2.0])


def test_merged_groups_join_both_and_no_more():
    assert merge_groups([0, 0, 1, 1, 2], [5, 6, 6, 7, 8]).tolist() == [0, 0, 0, 0, 1]
    assert merge_groups(["a", "b", "a"], range(3)).tolist() == [0, 1, 0]


def test_labels_of_any_kind_group_and_missing_ones_do_not():
    digests = [b"1\x00", b"1", b"1\x00", None, None, np.nan, np.nan]
    assert merge_groups(digests, range(7)).tolist() == [0, 1, 0, 2, 3, 4, 5]
    assert merge_groups(np.array([1.0, np.nan, np.nan, 1.0]), range(4)).tolist() == [0, 1, 2, 0]


def test_groupings_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="2 and 3 labels"):
        merge_groups([0, 1], [0, 1, 2])
