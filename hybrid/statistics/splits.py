"""Labels and groups -> repeated stratified folds that keep a group in one part."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike
from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

from hybrid.statistics.duplicates import merge_groups

ATTEMPTS = 10


def _named(labels: np.ndarray) -> str:
    names = ", ".join(repr(label) for label in labels[:5].tolist())
    return names + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _check(y: np.ndarray, groups: np.ndarray, n_splits: int) -> None:
    """Refuse classes that no split can both train on and test; warn of those that test parts will lack."""
    classes, codes = np.unique(y, return_inverse=True)
    pairs = np.unique(np.column_stack([codes, groups]), axis=0)
    counts = np.bincount(pairs[:, 0], minlength=len(classes))
    if len(classes) < 2:
        raise ValueError(f"Got images of {len(classes)} class, but expected at least 2.")
    if (counts < 2).any():
        raise ValueError(
            f"Cannot cross-validate {_named(classes[counts < 2])}: a single image (or group of images) "
            "cannot be both trained on and tested. Add images, or leave the class out."
        )
    if counts.max() < n_splits:
        raise ValueError(
            f"Got n_splits={n_splits}, but expected at most {counts.max()}, "
            "the images (or groups) of the largest class. Ask for fewer folds, or add images."
        )
    if counts.min() < n_splits:
        warnings.warn(
            f"{_named(classes[counts < n_splits])}: fewer than {n_splits} images (or groups of images), so "
            "some test parts have none. Ask for fewer folds, or add images.",
            stacklevel=3,
        )


def _one_repeat(y: np.ndarray, groups: np.ndarray, n_splits: int, seed: int) -> list:
    grouped = len(np.unique(groups)) < len(y)
    splitter = StratifiedGroupKFold if grouped else StratifiedKFold
    with warnings.catch_warnings():
        # `_check` has said it, with names.
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        return list(
            splitter(n_splits, shuffle=True, random_state=seed).split(y, y, groups if grouped else None)
        )


def _lacking(y: np.ndarray, split: list) -> np.ndarray:
    """Find the classes that some training part has no image of."""
    return np.unique(np.concatenate([np.setdiff1d(y, y[train]) for train, _ in split]))


def folds(
    y: ArrayLike,
    groups: ArrayLike | None = None,
    n_splits: int = 5,
    n_repeats: int = 1,
    seed: int = 0,
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Split into stratified folds, several times over, never parting a group.

    Parameters
    ----------
    y : array of shape (n,)
        Labels.
    groups : array of shape (n,), optional
        Images with the same value go to the same part: near duplicates, patients, or both
        (`duplicates.merge_groups`); one with None or NaN goes anywhere.
    n_splits, n_repeats : int
        Folds in a repeat, and repeats, each shuffled anew.
    seed : int
        The same seed gives the same folds.

    Returns
    -------
    list of (train, test)
        Row numbers of all ``n_splits * n_repeats`` folds, repeat after repeat; fit to be a search's ``cv``.

    Raises
    ------
    ValueError
        Where a class has a single image, or all its images are in one group.

    Warns
    -----
    UserWarning
        Where a class has fewer images or groups than folds; and where, in spite of several attempts, groups
        leave a training part without a class.

    Examples
    --------
    >>> for train, test in folds(["ant", "bee"] * 3, groups=[0, 1, 0, 1, 2, 3], n_splits=2):
    ...     print(train, test)
    [1 3 4] [0 2 5]
    [0 2 5] [1 3 4]
    """
    y = np.asarray(y)
    groups = np.arange(len(y)) if groups is None else merge_groups(groups, range(len(y)))
    _check(y, groups, n_splits)
    result = []
    for number in np.random.SeedSequence(seed).spawn(n_repeats):
        # Groups are dealt out greedily: now and then all of a rare class land in one part.
        for attempt in number.generate_state(ATTEMPTS).tolist():
            split = _one_repeat(y, groups, n_splits, attempt)
            lacking = _lacking(y, split)
            if not len(lacking):
                break
        else:
            warnings.warn(
                f"A training part has no image of {_named(lacking)}, whose test images it cannot get right. "
                "Ask for more folds, merge fewer groups, or add images.",
                stacklevel=2,
            )
        result += split
    return result
