"""Labels and weights of images in; what a network is to learn from them out."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from sklearn.model_selection import train_test_split
from sklearn.utils import assert_all_finite, column_or_1d
from sklearn.utils.class_weight import compute_sample_weight
from sklearn.utils.multiclass import check_classification_targets

from hybrid.finetune.course import Task


def make_task(
    classes: np.ndarray,
    codes: np.ndarray,
    sample_weight: np.ndarray,
    class_weight: str | dict | None,
    smoothing: float,
    share_held_out: float,
    seed: int,
) -> Task:
    """Return smoothed targets, weights of mean 1, and the rows that train or are held out."""
    train, held_out = np.arange(len(codes)), np.arange(0)
    if share_held_out:
        train, held_out = hold_out(codes, share_held_out, seed)
    weights = sample_weight * compute_sample_weight(class_weight, classes[codes])
    targets = np.eye(len(classes))[codes] * (1 - smoothing) + smoothing / len(classes)
    weights = weights / weights[train].mean()
    return Task(targets.astype(np.float32), weights.astype(np.float32), train, held_out)


def read_labels(y: Any, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the classes, and each image's place among them."""
    if y is None:
        raise ValueError("This classifier requires y to be passed, but the target y is None.")
    y = column_or_1d(y, warn=True)
    if len(y) != n:
        raise ValueError(f"Got {n} images, but {len(y)} labels. Pass one label an image.")
    assert_all_finite(y, input_name="y")
    kinds = {type(label).__name__ for label in y} if y.dtype == object else set()
    if "str" in kinds and len(kinds) > 1:
        raise TypeError(f"Got labels y of mixed types, {' and '.join(sorted(kinds))}, but expected one.")
    check_classification_targets(y)
    classes, codes = np.unique(y, return_inverse=True)
    if len(classes) < 2:
        raise ValueError(f"Got y with one class only, {str(classes[0])!r}, but expected two classes or more.")
    return classes, codes


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


def hold_out(codes: np.ndarray, fraction: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split off a stratified part for early stopping, with an image of each class at least."""
    size = max(math.ceil(fraction * len(codes)), len(np.unique(codes)))
    try:
        return train_test_split(np.arange(len(codes)), test_size=size, stratify=codes, random_state=seed)
    except ValueError as exc:
        raise ValueError(
            f"Got validation_fraction={fraction!r}, but {len(codes)} images cannot be split so: {exc} "
            "Pass patience=None, or another fraction."
        ) from exc
