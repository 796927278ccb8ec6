"""Images and several featurizers' parameters in; rows, digests, failures and the number of passes out.

What shares a network, a store and its images shares one forward pass. A search over stages and poolings then
works on plain matrices: it neither hashes nor reads an image again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from hybrid.features.embed import Failure, calibrate, report, run
from hybrid.features.recipe import Recipe, read_recipe
from hybrid.features.rows import Job, Rows
from hybrid.images.items import as_items
from hybrid.store.feature_store import FeatureStore, open_store


@dataclass(frozen=True, eq=False)
class Request:
    """Images, and what one featurizer wants of them."""

    items: Sequence
    recipe: Recipe
    store: FeatureStore | None
    batch_size: int
    on_error: str
    verbose: int

    @property
    def group(self) -> tuple:
        """What requests have in common that one pass can answer."""
        return self.recipe.scope, self.store and self.store.path, identity(self.items)


@dataclass(frozen=True, eq=False)
class Matrices:
    """The features of every featurizer, in order, and what became of the images."""

    features: tuple[np.ndarray, ...]  # float32 (n, width); rows of NaN for images that cannot be read
    digests: tuple[bytes | None, ...]  # of the images' contents; None without a store
    failures: tuple[Failure, ...]
    passes: int  # images that went through a network


def read_request(X: object, params: Mapping[str, object]) -> Request:
    """Check a featurizer's parameters and its images; an eight-bit network has its scales set by these."""
    items, recipe = as_items(X), read_recipe(params)
    if recipe.precision == "int8" and recipe.calibration is None:
        calibrate(items, recipe)
        recipe = read_recipe(params)
    store = open_store(params["store"])
    return Request(items, recipe, store, params["batch_size"], params["on_error"], params["verbose"])


def compute(X: object, settings: Sequence[Mapping[str, object]], verbose: int = 0) -> Matrices:
    """Compute the features of images for several featurizers; those of one network share its pass.

    Parameters
    ----------
    X : list, Series, array or DataFrame of images
    settings : sequence of dict
        The parameters of each featurizer. Whatever its `on_error`, bad images become rows of NaN and are listed.
    verbose : int, default=0
        1 shows a progress bar a network.

    Returns
    -------
    Matrices

    Examples
    --------
    >>> from hybrid import ResNetFeaturizer, load_sample
    >>> images = load_sample(n_per_class=1)["image"]
    >>> settings = [ResNetFeaturizer("tiny", pooling=pooling).get_params() for pooling in ("avg", "max")]
    >>> result = compute(images, settings)
    >>> [features.shape for features in result.features], result.passes
    ([(10, 64), (10, 64)], 10)
    """
    items = as_items(X)
    requests = [read_request(items, params) for params in settings]
    rows, failures = {}, {}
    for group in grouped(requests):
        recipe = joined(group)
        rows[group[0].group] = found = Rows(len(items), recipe)
        failed = run(items, recipe, group[0].store, found, group[0].batch_size, verbose)
        failures |= {failure[0]: failure for failure in failed}
    digests = zip(*(found.digests for found in rows.values()), strict=True)
    return Matrices(
        features=tuple(rows[one.group].of(one.recipe.parts) for one in requests),
        digests=tuple(next((digest for digest in row if digest), None) for row in digests),
        failures=tuple(failures[row] for row in sorted(failures)),
        passes=sum(found.passes for found in rows.values()),
    )


def fill(requests: Iterable[Request], verbose: int = 0) -> int:
    """Put all features that are asked for into the store; return how many images went through a network."""
    passes = 0

    def count(jobs: list[Job], vectors: list[np.ndarray]) -> None:
        nonlocal passes
        passes += sum(job.computed for job in jobs)

    for group in grouped(requests):
        first = group[0]
        bar = verbose or first.verbose
        report(run(first.items, joined(group), first.store, count, first.batch_size, bar), first.on_error)
    return passes


def grouped(requests: Iterable[Request]) -> list[list[Request]]:
    """Put together what one pass can answer, in order."""
    groups: dict[tuple, list[Request]] = {}
    for one in requests:
        groups.setdefault(one.group, []).append(one)
    return list(groups.values())


def joined(group: list[Request]) -> Recipe:
    """One recipe with everything that a group asks for; the longest request first, whose columns hold the others'."""
    first, *others = sorted((one.recipe for one in group), key=lambda recipe: -len(recipe.parts))
    return first.join(others)


def identity(items: Sequence) -> object:
    """Tell whether two sequences hold the same images, without reading any."""
    if not isinstance(items, (list, tuple)) and not (isinstance(items, np.ndarray) and items.ndim == 1):
        return id(items)
    return tuple(item if isinstance(item, str) else id(item) for item in items)
