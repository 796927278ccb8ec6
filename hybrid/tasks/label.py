"""Photographs in, the names of what ImageNet's 1000 classes see in them out."""

from __future__ import annotations

import os
import warnings

import numpy as np

from hybrid.features.passes import compute
from hybrid.featurizer import ResNetFeaturizer
from hybrid.images.items import name
from hybrid.store.feature_store import FeatureStore


def label(
    images: list,
    backbone: str = "efficientnet_lite0",
    weights: str | os.PathLike = "imagenet",
    top: int = 5,
    store: str | os.PathLike | FeatureStore | None = "auto",
    verbose: int = 0,
) -> list[list[tuple[str, float]]]:
    """Name what is in each image, by a network with its head on.

    Parameters
    ----------
    images : list of images
    backbone : str, default="efficientnet_lite0"
        A network with classes of its own; see :func:`hybrid.backbones`.
    weights : "imagenet" or path, default="imagenet"
    top : int, default=5
        How many names an image.
    store, verbose : as in :class:`ResNetFeaturizer`

    Returns
    -------
    names : list of list of (str, float)
        The likeliest classes of each image and their probabilities, best first; none for an image that
        cannot be read, which a warning names.
    """
    if top < 1:
        raise ValueError(f"Got top={top!r}, but expected a positive integer.")
    featurizer = ResNetFeaturizer(backbone, weights, layers="predictions", store=store)
    classes = featurizer.fit(images).get_feature_names_out()
    found = compute(images, [featurizer.get_params(deep=False)], verbose)
    for row, item, reason in found.failures:
        warnings.warn(f"Cannot read {name(item)} (item {row}): {reason}.", RuntimeWarning, stacklevel=2)
    rows = found.features[0]
    best = np.argsort(-rows, axis=1, kind="stable")[:, :top]
    return [
        [] if np.isnan(row).any() else [(str(classes[i]), float(row[i])) for i in order]
        for row, order in zip(rows, best, strict=True)
    ]
