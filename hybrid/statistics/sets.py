"""Cross-validated probabilities -> sets of classes that hold the right one as often as stated.

Split conformal prediction with the least ambiguous sets (LAC; Sadinle, Lei and Wasserman, 2019). What is kept
of the training set is one sorted array, so the coverage can be chosen at prediction, and skops stores it so.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike


def conformity(y: ArrayLike, probabilities: ArrayLike, classes: ArrayLike) -> np.ndarray:
    """Take the probability every image's right class got, from a model that had not seen the image.

    Parameters
    ----------
    y : array of shape (n,)
        Labels of images set aside, or of all images with cross-validated `probabilities` (one row an image:
        of repeated folds, take one repeat).
    probabilities : array of shape (n, n_classes)
    classes : array of shape (n_classes,)
        The label of every column.

    Returns
    -------
    array of shape (n,)
        In ascending order; what `prediction_sets` compares with.

    Examples
    --------
    >>> conformity(["bee", "ant"], [[0.4, 0.6], [0.9, 0.1]], ["ant", "bee"])
    array([0.6, 0.9])
    """
    y, classes = np.asarray(y), np.asarray(classes)
    right = y[:, None] == classes[None, :]
    strange = y[~right.any(axis=1)].tolist()
    if strange:
        raise ValueError(f"Got the label {strange[0]!r}, but expected one of {classes.tolist()}.")
    return np.sort(np.asarray(probabilities, dtype=float)[right])


def prediction_sets(probabilities: ArrayLike, conformity: ArrayLike, coverage: float = 0.9) -> np.ndarray:
    """Choose for every image the classes that hold the right one with probability `coverage`.

    Images drawn like those behind `conformity` find their class in the set in at least this share of cases,
    on average over all classes, whatever the model (a rare class may fare worse). This is proven for images
    set aside. With cross-validated probabilities, and the model then trained on all images, it holds nearly:
    that model has seen more images than the ones that were tested. The most probable class is always in, so
    that no set is empty.

    Parameters
    ----------
    probabilities : array of shape (m, n_classes)
        Of new images.
    conformity : array of shape (n,)
        What `conformity` returned.
    coverage : float
        Between 0 and 1. Above n / (n + 1), which no n images can vouch for, every set holds all classes.

    Returns
    -------
    array of bool, shape (m, n_classes)

    Examples
    --------
    >>> known = [0.2, 0.5, 0.6, 0.7, 0.8, 0.8, 0.9, 0.9, 0.9]
    >>> prediction_sets([[0.7, 0.2, 0.1], [0.45, 0.3, 0.25]], known, coverage=0.9)
    array([[ True,  True, False],
           [ True,  True,  True]])
    """
    if not 0 < coverage < 1:
        raise ValueError(f"Got coverage={coverage!r}, but expected a number between 0 and 1, such as 0.9.")
    probabilities, conformity = np.asarray(probabilities, dtype=float), np.asarray(conformity)
    # 10 * (1 - 0.9) is a hair below 1.
    rank = int(np.floor((len(conformity) + 1) * (1 - coverage) + 1e-9))
    least = conformity[rank - 1] if rank else 0.0
    chosen = probabilities >= least
    chosen[np.arange(len(chosen)), probabilities.argmax(axis=1)] = True
    return chosen
