"""A table and configs in; what every model of an experiment shares out: labels, features, groups, folds."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, replace

import numpy as np

from hybrid.datasets.labelled import Labelled, check_classes, read_labelled
from hybrid.experiment.candidates import IMAGES, read_candidates
from hybrid.experiment.copies import near_duplicates, read_pixels
from hybrid.features.passes import compute
from hybrid.featurizer import ResNetFeaturizer
from hybrid.images.items import name, raise_for
from hybrid.images.pixels import ImageError
from hybrid.statistics.duplicates import merge_groups
from hybrid.statistics.splits import folds

LIKENESS = ("last",), ("avg",)
LISTED = 5


@dataclass(frozen=True, eq=False)
class Prepared:
    """All images that can be read, and what was computed of them, once."""

    data: Labelled  # its groups keep near duplicates together, where that is wanted
    own_groups: np.ndarray | None  # the table's
    copies: np.ndarray  # groups of near duplicates
    pixels: np.ndarray  # uint8 (n, 32, 32, 3)
    matrices: tuple[dict, ...]  # for each config: setting -> matrix
    train: np.ndarray  # row numbers
    test: np.ndarray  # of the table's own test part
    skipped: tuple[tuple[int, object, str], ...]  # (row in the table, image, reason)
    passes: int
    warnings: tuple[str, ...]


def featurizer(config, setting, store="auto") -> ResNetFeaturizer:
    """Return the featurizer of a config with the layers and poolings of one setting."""
    layers, pooling = (names[0] if len(names) == 1 else list(names) for names in features_of(setting))
    params = config.features.model_dump() | {"layers": layers, "pooling": pooling, "store": store}
    return ResNetFeaturizer(**params, seed=config.seed if config.features.weights is None else None)


def features_of(setting):
    """Return the layers and poolings that a setting reads; a head of its own reads the last layer."""
    return LIKENESS if setting == IMAGES else setting


class Images(list):
    """Images in place of a matrix of their features, and the store that has these."""

    def __init__(self, items, store):
        super().__init__(items)
        self.store = store

    def __getitem__(self, rows):
        if not isinstance(rows, np.ndarray):
            return super().__getitem__(rows)
        return Images([super(Images, self).__getitem__(row) for row in rows], self.store)


def prepare(frame, configs, store="auto", verbose=0) -> Prepared:
    """Read a table, compute all features that the configs will ask for, and find near duplicates.

    Parameters
    ----------
    frame : DataFrame, path or "sample"
    configs : list of Config
        The first one says what becomes of bad images and of duplicates.
    store : "auto", path, FeatureStore or None, default="auto"
    verbose : int, default=0

    Returns
    -------
    Prepared
    """
    data = read_labelled(frame)
    check_classes(data.y[~is_test(data)])
    first, settings = configs[0], [dict.fromkeys(c.setting for c in read_candidates(one)) for one in configs]
    asked = [(config, setting) for config, own in zip(configs, settings, strict=True) for setting in own]
    wanted = [featurizer(*one, store).get_params(deep=False) for one in [*asked, (first, LIKENESS)]]
    found = compute(data.images, wanted, verbose)
    notes = bad_images(found.failures, first.data.on_error)
    good = np.setdiff1d(np.arange(len(data)), [row for row, _, _ in found.failures]).astype(int)
    data = data.take(good)
    check_classes(data.y[~is_test(data)])
    features = [matrix[good] for matrix in found.features]
    own_images = Images(data.images, store)
    filled = [own_images if asked[i][1] == IMAGES else matrix for i, matrix in enumerate(features[:-1])]
    matrices = iter(filled)
    pixels = read_pixels(data.images, first.features.value_range)
    digests = [found.digests[row] for row in good]
    copies = near_duplicates(features[-1], pixels, digests, first.cv.threshold)
    groups = data.groups
    if first.cv.keep_duplicates_together:
        groups = copies if groups is None else merge_groups(groups, copies)
    test = is_test(data)
    return Prepared(
        data=replace(data, groups=groups),
        own_groups=data.groups,
        copies=copies,
        pixels=pixels,
        matrices=tuple(dict(zip(own, matrices, strict=False)) for own in settings),
        train=np.flatnonzero(~test),
        test=np.flatnonzero(test),
        skipped=found.failures,
        passes=found.passes,
        warnings=(*notes, *leaks_into_test(copies, test)),
    )


def is_test(data) -> np.ndarray:
    return np.zeros(len(data), bool) if data.split is None else data.split == "test"


def bad_images(failures, on_error) -> list[str]:
    """Raise one error that names all bad images, or say which were left out."""
    if not failures:
        return []
    if on_error == "raise":
        try:
            raise_for(failures)
        except ImageError as exc:
            way_out = "leave such images out: --set data.on_error=skip."
            raise ImageError(str(exc).replace("pass on_error='nan'.", way_out)) from None
    shown = ", ".join(f"{name(item)} ({reason})" for _, item, reason in failures[:LISTED])
    more = f" and {len(failures) - LISTED} more" if len(failures) > LISTED else ""
    return [f"Left out {len(failures)} images that cannot be read: {shown}{more}."]


def leaks_into_test(copies, test) -> list[str]:
    """Say how many images of the test part are near duplicates of images to train on."""
    known = np.count_nonzero(np.isin(copies[test], copies[~test]))
    if not known:
        return []
    return [f"{known} of {test.sum()} test images are near duplicates of training images: the test flatters."]


def split(data, rows, config) -> tuple[list[tuple[np.ndarray, np.ndarray]], list[str]]:
    """Split rows into the folds of a config; fewer, with a warning, where no class has enough images."""
    y, groups = data.y[rows], None if data.groups is None else data.groups[rows]
    members = [y, np.arange(len(y)) if groups is None else groups]
    most = max(len({g for label, g in zip(*members, strict=True) if label == one}) for one in np.unique(y))
    n_splits = max(2, min(config.cv.folds, most))
    notes = []
    if n_splits < config.cv.folds:
        notes.append(f"{n_splits} folds instead of {config.cv.folds}: no class has more images (or groups).")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            parts = folds(y, groups, n_splits, config.cv.repeats, config.seed)
        except ValueError as exc:
            hint = " Near duplicates count as one image: see cv.keep_duplicates_together."
            raise ValueError(f"{exc}{hint if config.cv.keep_duplicates_together else ''}") from None
    told = dict.fromkeys(str(warning.message) for warning in caught)
    # scikit-learn says once more what `folds` says with the classes' names.
    notes += [message for message in told if not message.startswith("The least populated class")]
    return [(rows[train], rows[test]) for train, test in parts], notes
