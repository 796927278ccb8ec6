"""Labels and groups -> repeated stratified folds that keep a group in one part."""

from __future__ import annotations

import warnings

import numpy as np
from numpy.typing import ArrayLike

from hybrid.statistics.duplicates import members, merge_groups

ATTEMPTS = 10


def _named(labels: np.ndarray) -> str:
    names = ", ".join(repr(label) for label in labels[:5].tolist())
    return names + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")


def _check(y: np.ndarray, groups: np.ndarray, n_splits: int) -> None:
    """Refuse classes that no split can both train on and test; warn of those that test parts will lack."""
    classes, counts = groups_by_class(y, groups)
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


def groups_by_class(y: np.ndarray, groups: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Count the groups, given by numbers, that have images of each class: classes, counts."""
    classes, codes = np.unique(y, return_inverse=True)
    pairs = np.unique(np.column_stack([codes, groups]), axis=0)
    return classes, np.bincount(pairs[:, 0], minlength=len(classes))


def _one_repeat(y: np.ndarray, groups: np.ndarray, n_splits: int, seed: int) -> list:
    """Deal out groups, the largest first, each to the fold that has least of its classes; then single images."""
    rng = np.random.default_rng(seed)
    classes, codes = np.unique(y, return_inverse=True)
    totals = np.bincount(codes)
    counts = np.zeros((n_splits, len(classes)))
    fold = np.empty(len(y), int)
    sizes = np.bincount(groups)
    together = members(groups)
    together = [together[i] for i in rng.permutation(len(together))]
    for rows in sorted(together, key=len, reverse=True):
        own = np.bincount(codes[rows], minlength=len(classes))
        # What the sum of squared shares grows by, but for what is the same in every fold.
        growth = counts @ (own / totals**2)
        fold[rows] = chosen = np.lexsort((counts.sum(axis=1), growth.round(12)))[0]
        counts[chosen] += own
    single = np.flatnonzero(sizes[groups] == 1)
    for code in np.argsort(-totals, kind="stable"):
        rows = rng.permutation(single[codes[single] == code])
        level = counts[:, code, None] + np.arange(len(rows))
        order = np.lexsort((np.repeat(counts.sum(axis=1), len(rows)), level.ravel()))[: len(rows)]
        fold[rows] = order // max(1, len(rows))
        counts[:, code] += np.bincount(fold[rows], minlength=n_splits)
    return [(np.flatnonzero(fold != one), np.flatnonzero(fold == one)) for one in range(n_splits)]


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
    [0 2 5] [1 3 4]
    [1 3 4] [0 2 5]
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
