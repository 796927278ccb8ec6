"""Labels and weights of images in; what a network is to learn from them out."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.sparse import issparse
from sklearn.model_selection import train_test_split
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from hybrid.finetune.course import Task


@dataclass(frozen=True)
class Labels:
    """What images are: `kind` is "classes" (a name each), "one-hot" (a column a class) or "labels" (several)."""

    kind: str
    classes: np.ndarray
    # Each image's place among the classes; of several labels an indicator matrix.
    codes: np.ndarray

    @property
    def exclusive(self) -> bool:
        """Whether an image has one class."""
        return self.kind != "labels"

    def take(self, rows: np.ndarray) -> Labels:
        """The labels of some images; the classes stay."""
        return replace(self, codes=self.codes[rows])

    def targets(self, smoothing: float) -> np.ndarray:
        """What the network's outputs should be."""
        hard = np.eye(len(self.classes))[self.codes] if self.exclusive else self.codes
        share = smoothing / (len(self.classes) if self.exclusive else 2)
        return (hard * (1 - smoothing) + share).astype(np.float32)


def predicted(probabilities: np.ndarray, classes: np.ndarray, kind: str) -> np.ndarray:
    """Return what is most probable, in the form that `fit` got it in."""
    if kind == "labels":
        return (probabilities > 0.5).astype(int)
    best = probabilities.argmax(axis=1)
    return classes[best] if kind == "classes" else np.eye(len(classes), dtype=int)[best]


def make_task(
    labels: Labels,
    sample_weight: np.ndarray,
    class_weight: str | dict | None,
    smoothing: float,
    held_out: np.ndarray,
) -> Task:
    """Return smoothed targets, weights of mean 1, and the rows that train or are held out."""
    train = np.setdiff1d(np.arange(len(sample_weight)), held_out)
    weights = sample_weight
    if class_weight is not None:
        if not labels.exclusive:
            raise ValueError(
                f"Got class_weight={class_weight!r:.200}, but images have several labels each. "
                "Pass class_weight=None, and sample_weight to fit."
            )
        weights = weights * compute_sample_weight(class_weight, labels.classes[labels.codes])
    weights = weights / weights[train].mean()
    return Task(labels.targets(smoothing), weights.astype(np.float32), train, held_out)


def read_labels(y: Any, n: int) -> Labels:
    """Return the classes, and each image's place among them."""
    y = _as_array(y, n)
    if y.ndim == 2 and y.shape[1] > 1:
        return _read_columns(y)
    y = column_or_1d(y, warn=True)
    assert_all_finite(y, input_name="y")
    kinds = {type(label).__name__ for label in y} if y.dtype == object else set()
    if "str" in kinds and len(kinds) > 1:
        raise TypeError(f"Got labels y of mixed types, {' and '.join(sorted(kinds))}, but expected one.")
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"Got y with one class only, {str(classes[0])!r}, but expected two classes or more.")
    return Labels("classes", classes, codes)


def _as_array(y: Any, n: int) -> np.ndarray:
    """Return labels as an array with a row an image."""
    if y is None:
        raise ValueError("This classifier requires y to be passed, but the target y is None.")
    try:
        y = y.toarray() if issparse(y) else np.asarray(y)
    except ValueError as exc:
        raise ValueError(
            "Got y with lists of different lengths, but expected a class an image, or a column a class of "
            "0 and 1: MultiLabelBinarizer().fit_transform(y)."
        ) from exc
    if y.ndim and len(y) != n:
        raise ValueError(f"Got {n} images, but {len(y)} labels. Pass one label an image.")
    return y


def _read_columns(y: np.ndarray) -> Labels:
    """Read a matrix with a column a class: one class an image where each row has a single 1, else several."""
    strange = y[~np.isin(y, (0, 1))]
    if len(strange):
        raise ValueError(
            f"Got y of shape {y.shape} with {strange[0]!r}, but expected a class an image, or a column a "
            "class of 0 and 1."
        )
    y, classes = y.astype(int), np.arange(y.shape[1])
    if (y.sum(axis=1) == 1).all():
        return Labels("one-hot", classes, y.argmax(axis=1))
    return Labels("labels", classes, y)


def join(y: Any, n: int, more: Any, count: int) -> np.ndarray:
    """Put the labels of held-out images behind the others."""
    y, more = _as_array(y, n), _as_array(more, count)
    if y.shape[1:] != more.shape[1:]:
        raise ValueError(
            f"Got validation_data with y of shape {more.shape}, but expected {(count, *y.shape[1:])}."
        )
    if y.ndim > 1:
        return np.concatenate([y, more])
    if unknown := set(more.tolist()) - set(y.tolist()):
        raise ValueError(
            f"Got validation_data with the class {min(unknown, key=str)!r}, which y has not: leave it out."
        )
    return np.concatenate([y, more.astype(y.dtype)])


def read_sample_weight(sample_weight: Any, n: int) -> np.ndarray:
    """Return the images' weights."""
    if sample_weight is None:
        return np.ones(n)
    weights = np.asarray(sample_weight, np.float64)
    if weights.shape != (n,):
        raise ValueError(f"Got sample_weight of shape {weights.shape}, but expected {(n,)}.")
    if not np.isfinite(weights).all() or weights.min() < 0 or not weights.any():
        raise ValueError(
            "Got sample_weight all zero, or with a negative or infinite one; expected some above zero."
        )
    return weights


def hold_out(labels: Labels, fraction: float, seed: int) -> np.ndarray:
    """Choose a part for early stopping, with an image of each class at least; at random if they have several."""
    codes = labels.codes
    size = max(math.ceil(fraction * len(codes)), len(np.unique(codes)) if labels.exclusive else 1)
    stratify = codes if labels.exclusive else None
    try:
        return train_test_split(np.arange(len(codes)), test_size=size, stratify=stratify, random_state=seed)[
            1
        ]
    except ValueError as exc:
        raise ValueError(
            f"Got validation_fraction={fraction!r}, but {len(codes)} images cannot be split so: {exc} "
            "Pass patience=None, or another fraction."
        ) from exc
