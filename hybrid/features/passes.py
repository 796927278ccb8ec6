"""Images and several featurizers in, one feature matrix a featurizer out; one forward pass a network.

A search over stages and poolings then works on plain matrices: it neither hashes nor reads an image again.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain

import numpy as np
from sklearn.base import clone

from hybrid.features.embed import Pass, progress
from hybrid.features.recipe import read_recipe
from hybrid.featurizer import ResNetFeaturizer
from hybrid.images.items import as_items
from hybrid.store.feature_store import open_store


@dataclass(frozen=True, eq=False)
class Matrices:
    """The features of every featurizer, in order, and what became of the images."""

    features: tuple[np.ndarray, ...]  # float32 (n, width); rows of NaN for images that cannot be read
    digests: tuple[bytes | None, ...]  # of the images' contents; None without a store
    failures: tuple[tuple[int, object, str], ...]  # (row, item, reason)
    passes: int  # images that went through a network


def compute(X, featurizers: Sequence[ResNetFeaturizer], verbose: int = 0) -> Matrices:
    """Compute the features of images for several featurizers; those of one network share its pass.

    Parameters
    ----------
    X : list, Series, array or DataFrame of images
    featurizers : sequence of ResNetFeaturizer
        Unfitted ones will do. Whatever their `on_error`, bad images become rows of NaN and are listed.
    verbose : int, default=0
        1 shows a progress bar a network.

    Returns
    -------
    Matrices

    Examples
    --------
    >>> from hybrid import ResNetFeaturizer, load_sample
    >>> images = load_sample(n_per_class=1)["image"]
    >>> result = compute(images, [ResNetFeaturizer("tiny", pooling=pooling) for pooling in ("avg", "max")])
    >>> [features.shape for features in result.features], result.passes
    ([(10, 64), (10, 64)], 10)
    """
    items = as_items(X)
    recipes = [read_recipe(clone(one).fit(X).get_params(deep=False)) for one in featurizers]
    keys = [
        (recipe.scope, str(featurizer.store)) for recipe, featurizer in zip(recipes, featurizers, strict=True)
    ]
    filled, digests, failures, passes = {}, [None] * len(items), {}, 0
    for key in dict.fromkeys(keys):
        first, *others = [recipe for recipe, own in zip(recipes, keys, strict=True) if own == key]
        featurizer = featurizers[keys.index(key)]
        table, found, failed, computed = _run(items, first.join(others), featurizer, verbose)
        filled[key] = table
        digests = [new or old for new, old in zip(found, digests, strict=True)]
        failures |= {failure[0]: failure for failure in failed}
        passes += computed
    features = [
        np.concatenate([filled[key][part] for part in recipe.parts], axis=1)
        for recipe, key in zip(recipes, keys, strict=True)
    ]
    return Matrices(tuple(features), tuple(digests), tuple(failures[row] for row in sorted(failures)), passes)


def _run(items, recipe, featurizer, verbose):
    """Run one network; return its parts' matrices, the digests, the failures and the number of passes."""
    table, digests, passes = {}, [None] * len(items), 0

    def sink(jobs, vectors):
        nonlocal passes
        passes += sum(job.computed for job in jobs)
        source = np.repeat(np.arange(len(jobs)), [len(job.positions) for job in jobs])
        rows = list(chain.from_iterable(job.positions for job in jobs))
        for row, i in zip(rows, source, strict=True):
            digests[row] = jobs[i].digest
        for part, values in zip(recipe.parts, vectors, strict=True):
            if part not in table:
                table[part] = np.full((len(items), values.shape[1]), np.nan, np.float32)
            table[part][rows] = values[source]

    store, name = open_store(featurizer.store), recipe.network.backbone.name
    with progress(len(items), name, sink) if verbose else nullcontext(sink) as counted:
        task = Pass(items, recipe, store, featurizer.batch_size, counted)
        task.run()
    if not table:
        table = {part: np.full((len(items), 0), np.nan, np.float32) for part in recipe.parts}
    return table, digests, task.failures, passes
