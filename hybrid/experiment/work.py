"""Tasks in, their results out: side by side in threads or on a cluster, with one bar that counts their time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from threading import Lock
from typing import Any

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits

# How often all workers that hold what is to be done may die of it.
DEATHS = 3


def parallel(
    function: Callable,
    tasks: Sequence[tuple],
    shown: str = "",
    n_jobs: int | None = None,
    weights: Sequence[float] | None = None,
) -> list:
    """Run tasks side by side, or so many at once; return their results in order. Weights are shares of the time."""
    with one_thread_a_core(n_jobs):
        results = Parallel(return_as="generator")(delayed(function)(*task) for task in tasks)
        return list(watched(results, weights or [1] * len(tasks), shown) if shown else results)


def remote(function: Callable) -> Callable | None:
    """Return the same function, run on a cluster, where joblib was told of one: ``parallel_config("dask")``.

    What it holds travels to every worker once; and again, where all that had it are dead.
    """
    client, lock = getattr(get_active_backend()[0], "client", None), Lock()
    if client is None:
        return None
    held = client.scatter([function], broadcast=True)

    def work(*args: Any) -> Any:
        for _ in range(DEATHS):
            [last] = held
            try:
                return client.submit(_alone, last, *args, pure=False).result()
            except CancelledError:
                with lock:
                    if held == [last]:
                        held[:] = client.scatter([function], broadcast=True)
        raise RuntimeError(f"Workers died {DEATHS} times of what they were sent. Have they memory for it?")

    return work


def _alone(function: Callable, *args: Any) -> Any:
    """Call it as one of many that share the cores."""
    with threadpool_limits(1), silence():
        return function(*args)


@contextmanager
def one_thread_a_core(n_jobs: int | None = None) -> Iterator[None]:
    """Let joblib use threads, which copy nothing; the cores that they leave are BLAS's."""
    n_jobs = n_jobs or cpu_count()
    with (
        threadpool_limits(max(1, cpu_count() // n_jobs)),
        parallel_config("threading", n_jobs=n_jobs),
        silence(),
    ):
        yield


@contextmanager
def silence() -> Iterator[None]:
    """Show no warnings: a C that does not converge loses by its score.

    Recorded, not only ignored: scikit-learn's threads reset each other's filters.
    """
    with warnings.catch_warnings(record=True):
        warnings.simplefilter("ignore")
        yield


def watched(results: Iterable, weights: Sequence[float], name: str) -> Iterator:
    """Show on stderr how much of the time is over, and what is left."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=sum(weights))
        for result, weight in zip(results, weights, strict=True):
            bar.advance(task, weight)
            yield result
