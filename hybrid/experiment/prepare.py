"""A table and configs in; what every model of an experiment shares out: labels, features, groups, folds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid.datasets.labelled import Labelled, check_classes, read_labelled
from hybrid.experiment.candidates import Setting, featurizer, read_candidates
from hybrid.experiment.copies import near_duplicates, read_pixels
from hybrid.features.passes import compute
from hybrid.images.items import name, raise_for
from hybrid.spelling import counted
from hybrid.statistics.duplicates import merge_groups
from hybrid.statistics.splits import folds, groups_by_class

if TYPE_CHECKING:
    import os

    import pandas as pd

    from hybrid.config import Config
    from hybrid.experiment.selection import Fold

    Table = pd.DataFrame | str | os.PathLike

# The features that near duplicates are found by, and that a head of its own reads.
LIKENESS = ("last",), ("avg",)
LISTED = 5
# Above, folds that are drawn once tell as much.
FEW = 1000


@dataclass(frozen=True, eq=False)
class Prepared:
    """All images that can be read, and what was computed of them, once."""

    data: Labelled  # its groups keep near duplicates together, where that is wanted
    own_groups: np.ndarray | None  # the table's
    copies: np.ndarray  # groups of near duplicates
    pixels: np.ndarray  # uint8 (n, 32, 32, 3)
    matrices: tuple[dict[Setting | None, np.ndarray], ...]  # for each config; of None, the images
    train: np.ndarray  # row numbers
    test: np.ndarray  # of the table's own test part
    skipped: tuple[tuple[int, object, str], ...]  # (row in the table, image, reason)
    passes: int
    warnings: tuple[str, ...]


def prepare(frame: Table, configs: list[Config], store: Any = "auto", verbose: int = 0) -> Prepared:
    """Read a table, compute all features that the configs will ask for, and find near duplicates.

    Parameters
    ----------
    frame : DataFrame, path or "sample"
    configs : list of Config
        The first one says what becomes of bad images and of duplicates.
    store : "auto", path, FeatureStore or None, default="auto"
    verbose : int, default=0
    """
    data = read_labelled(frame)
    check_classes(data.y[~data.is_test])
    first, settings = configs[0], [dict.fromkeys(c.setting for c in read_candidates(one)) for one in configs]
    asked = [(config, setting) for config, own in zip(configs, settings, strict=True) for setting in own]
    readers = [featurizer(config, setting or LIKENESS, store) for config, setting in asked]
    readers.append(featurizer(first, LIKENESS, store))
    found = compute(data.images, [reader.get_params(deep=False) for reader in readers], verbose)
    notes = _bad_images(found.failures, first.data.on_error)
    good = np.setdiff1d(np.arange(len(data)), [row for row, _, _ in found.failures]).astype(int)
    data = data.take(good)
    check_classes(data.y[~data.is_test])
    images = np.fromiter(data.images, object, len(data))
    computed = iter(found.features)
    matrices = [
        {
            setting: taken(matrix, good) if setting else images
            for setting, matrix in zip(own, computed, strict=False)
        }
        for own in settings
    ]
    pixels = read_pixels(data.images, first.features.value_range)
    digests = [found.digests[row] for row in good]
    copies = near_duplicates(taken(found.features[-1], good), pixels, digests, first.cv.threshold)
    groups = data.groups
    if first.cv.keep_duplicates_together:
        groups = copies if groups is None else merge_groups(groups, copies)
    test = data.is_test
    return Prepared(
        data=replace(data, groups=groups),
        own_groups=data.groups,
        copies=copies,
        pixels=pixels,
        matrices=tuple(matrices),
        train=np.flatnonzero(~test),
        test=np.flatnonzero(test),
        skipped=found.failures,
        passes=found.passes,
        warnings=(*notes, *_leaks_into_test(copies, test)),
    )


def taken(matrix: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Return some rows, or the matrix itself where that is all of them."""
    return matrix if len(rows) == len(matrix) else matrix[rows]


def _bad_images(failures: tuple[tuple[int, object, str], ...], on_error: str) -> list[str]:
    """Raise one error that names all bad images, or say which were left out."""
    if not failures:
        return []
    if on_error == "raise":
        raise_for(failures, "leave such images out: --set data.on_error=skip")
    shown = ", ".join(f"{name(item)} ({reason})" for _, item, reason in failures[:LISTED])
    more = f" and {len(failures) - LISTED} more" if len(failures) > LISTED else ""
    return [f"Left out {counted(len(failures), 'image')} that cannot be read: {shown}{more}."]


def _leaks_into_test(copies: np.ndarray, test: np.ndarray) -> list[str]:
    """Say how many images of the test part are near duplicates of images to train on."""
    known = np.count_nonzero(np.isin(copies[test], copies[~test]))
    if not known:
        return []
    return [f"{known} of {test.sum()} test images are near duplicates of training images: the test flatters."]


def n_repeats(config: Config, images: int) -> int:
    """How many times the folds are drawn."""
    return (2 if images <= FEW else 1) if config.cv.repeats == "auto" else config.cv.repeats


def outer_folds(data: Labelled, rows: np.ndarray, config: Config) -> tuple[list[Fold], list[str]]:
    """Split rows into the folds of a config; fewer, with a warning, where no class has enough images."""
    y, groups = data.y[rows], None if data.groups is None else data.groups[rows]
    members = np.arange(len(y)) if groups is None else merge_groups(groups, range(len(y)))
    most = groups_by_class(y, members)[1].max()
    n_splits = max(2, min(config.cv.folds, most))
    notes = []
    if n_splits < config.cv.folds:
        notes.append(f"{n_splits} folds instead of {config.cv.folds}: no class has more images (or groups).")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parts = folds(y, groups, n_splits, n_repeats(config, len(rows)), config.seed)
        except ValueError as exc:
            hint = " Near duplicates count as one image: see cv.keep_duplicates_together."
            raise ValueError(f"{exc}{hint if config.cv.keep_duplicates_together else ''}") from None
    told = dict.fromkeys(str(warning.message) for warning in caught)
    # scikit-learn says once more what `folds` says with the classes' names.
    notes += [message for message in told if not message.startswith("The least populated class")]
    return [(rows[train], rows[test]) for train, test in parts], notes
