"""A search and a Dask cluster in; the features that it will ask for in the stores of all workers out.

A worker that finds them there runs no network: N images are N passes, however many workers and stores there are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import numpy as np
from joblib import parallel_config

from hybrid.cluster.client import connected
from hybrid.features.embed import Job, run
from hybrid.features.passes import Request
from hybrid.prefetching import prefetch, requests_of
from hybrid.store.feature_store import open_store

if TYPE_CHECKING:
    from distributed import Client


def share(client: Client, estimator: object, X: object, verbose: int = 0) -> int:
    """Prefetch here what fitting will ask for, and send it to every worker whose store lacks it.

    Workers read each image once to know it by its content, so that paths must be theirs, too. Those that come later
    compute what they lack.

    Parameters
    ----------
    client : distributed.Client
    estimator : estimator
        A featurizer, pipeline, search, or anything nested from those.
    X : images
        What `fit` will be given.
    verbose : int, default=0
        1 shows a progress bar a network.

    Returns
    -------
    passes : int
        The number of images that went through a network.
    """
    passes = prefetch(estimator, X, verbose)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # `prefetch` has said it
        requests, _ = requests_of(estimator, X)
        for request in requests:
            with suppress(ValueError):  # a layer that the network lacks
                _send(client, request)
    return passes


def _send(client: Client, request: Request) -> None:
    """Put the rows that a request asks for into the stores that lack them."""
    texts = [request.recipe.text(part) for part in request.recipe.parts]
    own = request.store.path == open_store("auto").path
    where = "auto" if own else str(request.store.path)

    def sink(jobs: list[Job], vectors: list[np.ndarray]) -> None:
        digests = [job.digest for job in jobs]
        # One after the other, for workers of one host share a store.
        for worker in client.ncores():
            lacking = client.run(_lacking, where, texts, digests, workers=[worker])[worker]
            if lacking.any():
                rows = {text: part[lacking] for text, part in zip(texts, vectors, strict=True)}
                some = [digest for digest, absent in zip(digests, lacking, strict=True) if absent]
                client.run(_keep, where, some, rows, workers=[worker])

    run(request.items, request.recipe, request.store, sink, request.batch_size)


def _lacking(where: str, texts: Sequence[str], digests: Sequence[bytes]) -> np.ndarray:
    """Tell on a worker which images its store does not know under all recipes."""
    store = open_store(where)
    return ~np.all([store.get(text, digests, count=False)[1] for text in texts], axis=0)


def _keep(where: str, digests: Sequence[bytes], rows: dict[str, np.ndarray]) -> None:
    open_store(where).put(digests, rows)


@contextmanager
def searching(scheduler: str | None) -> Iterator[None]:
    """Let joblib work on the cluster of a scheduler; without one, here."""
    if scheduler is None:
        yield
    else:
        with connected(scheduler=scheduler), parallel_config("dask"):
            yield
