"""Folds are stratified, repeatable, and never part a group or lose a class in silence."""

import warnings

import numpy as np
import pytest

from hybrid.statistics import splits
from hybrid.statistics.splits import folds

Y = np.repeat(["ant", "bee", "cat"], [50, 30, 20])


def test_every_image_is_tested_once_a_repeat_in_its_class_share():
    split = folds(Y, n_splits=5, n_repeats=3)
    assert len(split) == 15
    for repeat in range(3):
        tests = [test for _, test in split[5 * repeat : 5 * repeat + 5]]
        assert np.sort(np.concatenate(tests)).tolist() == list(range(100))
        assert all(np.unique(Y[test], return_counts=True)[1].tolist() == [10, 6, 4] for test in tests)


def test_repeats_differ_and_the_seed_repeats_them():
    first, again, other = (folds(Y, n_repeats=2, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a[1], b[1]) for a, b in zip(first, again, strict=True))
    assert not np.array_equal(first[0][1], other[0][1])
    assert not np.array_equal(first[0][1], first[5][1])


def test_groups_stay_together_and_classes_stay_in_proportion():
    groups = np.arange(100)
    groups[50:60] = groups[:10]
    groups[95:100] = groups[0]
    for train, test in folds(Y, groups, n_repeats=4):
        assert not set(groups[train]) & set(groups[test])
        assert np.abs(np.unique(Y[test], return_counts=True)[1] - [10, 6, 4]).max() <= 4


def test_missing_groups_are_no_group():
    groups = np.array([None] * 98 + ["p1", "p1"], dtype=object)
    assert all(len(test) < 30 for _, test in folds(Y, groups))


def test_every_training_part_has_every_class():
    y = np.repeat(["ant", "bee", "rare"], [40, 40, 4])
    groups = np.r_[np.arange(80) // 2, 100, 100, 101, 101]
    with pytest.warns(UserWarning, match="'rare': fewer than 5 images"):
        split = folds(y, groups, n_repeats=5)
    assert all(set(y[train]) == {"ant", "bee", "rare"} for train, _ in split)


def test_a_training_part_without_a_class_is_said(monkeypatch):
    cats, rest = np.arange(80, 100), np.arange(80)
    monkeypatch.setattr(splits, "_one_repeat", lambda *_: [(rest, cats), (cats, rest)])
    with pytest.warns(UserWarning, match="A training part has no image of 'ant', 'bee', 'cat'"):
        folds(Y, n_splits=2)


@pytest.mark.parametrize(
    ("y", "groups", "n_splits", "message"),
    [
        (["ant"] * 9 + ["bee"], None, 5, "Cannot cross-validate 'bee'"),
        (["ant"] * 8 + ["bee"] * 2, [*range(8), 9, 9], 2, "Cannot cross-validate 'bee'"),
        (["ant", "bee"] * 3, None, 5, "expected at most 3"),
        (["ant"] * 9, None, 3, "expected at least 2"),
        (["ant", "bee"] * 3, [0, 1], 3, "expected one an image"),
    ],
)
def test_what_cannot_be_split_is_named(y, groups, n_splits, message):
    with pytest.raises(ValueError, match=message):
        folds(y, groups, n_splits)


def test_a_class_with_fewer_images_than_folds_warns_once():
    with pytest.warns(UserWarning, match="'bee': fewer than 5 images") as caught:
        folds(["ant"] * 20 + ["bee"] * 3, n_repeats=3)
    assert len(caught) == 1


def test_ordinary_data_do_not_warn():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        folds(Y, np.arange(100) // 2)
