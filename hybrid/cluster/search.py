"""A search and a Dask cluster in; the features that it will ask for in the stores of all workers out.

A worker that finds them there runs no network: N images are N passes, however many workers and stores there are.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

import numpy as np
from joblib import parallel_config

from hybrid.cluster.client import connected
from hybrid.features.embed import Job, run
from hybrid.features.passes import Request
from hybrid.prefetching import prefetch, requests_of
from hybrid.store.feature_store import open_store

if TYPE_CHECKING:
    from distributed import Client, Future


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
            asked = {"workers": [worker], "on_error": "ignore"}  # one that dies meanwhile needs nothing
            lacking = client.run(_lacking, where, texts, digests, **asked).get(worker)
            if lacking is not None and lacking.any():
                rows = {text: part[lacking] for text, part in zip(texts, vectors, strict=True)}
                some = [digest for digest, absent in zip(digests, lacking, strict=True) if absent]
                client.run(_keep, where, some, rows, **asked)

    run(request.items, request.recipe, request.store, sink, request.batch_size)


def _lacking(where: str, texts: Sequence[str], digests: Sequence[bytes]) -> np.ndarray:
    """Tell on a worker which images its store does not know under all recipes."""
    store = open_store(where)
    return ~np.all([store.get(text, digests, count=False)[1] for text in texts], axis=0)


def _keep(where: str, digests: Sequence[bytes], rows: dict[str, np.ndarray]) -> None:
    open_store(where).put(digests, rows)


@contextmanager
def searching(
    client: Client | None = None, workers: int | None = None, scheduler: str | None = None
) -> Iterator[Client]:
    """Let joblib work on a cluster: ``parallel_config("dask")``, but for data that outlive the workers.

    Parameters
    ----------
    client, workers, scheduler
        See `hybrid.cluster.connected`.

    Examples
    --------
    >>> with searching(scheduler="tls://host:8786") as client:  # doctest: +SKIP
    ...     share(client, search, images)
    ...     search.fit(images, labels)
    """
    with connected(client, workers, scheduler) as found:
        import dask

        quiet = dask.config.set({"distributed.admin.large-graph-warning-threshold": "1TB"})
        with quiet, parallel_config("dask", client=_Keeping(found)):
            yield found


class _Keeping:
    """A client that has the scheduler keep what joblib scatters, for what workers alone have is gone with them."""

    def __init__(self, client: Client):
        self._client = client

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def scatter(self, data: Any, asynchronous: bool = False, **options: Any) -> Any:
        """Return data, where joblib scatters them by itself, as the result of a task that can be repeated."""

        async def kept() -> Future:
            return self._client.submit(_itself, data, pure=False)

        return kept() if asynchronous else self._client.scatter(data, **options)


def _itself(data: Any) -> Any:
    return data
