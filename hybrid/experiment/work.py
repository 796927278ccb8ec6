"""Tasks in, their results out: side by side in threads or on a cluster, with one bar that counts their time."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from contextlib import contextmanager
from typing import Any

from joblib import Parallel, cpu_count, delayed, parallel_config
from joblib.parallel import get_active_backend
from threadpoolctl import threadpool_limits


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

    What it holds is a task's result, which the scheduler has made again where all workers that had it are dead.
    """
    client = getattr(get_active_backend()[0], "client", None)
    if client is None:
        return None
    from distributed import KilledWorker

    with silence():
        held = client.submit(_itself, function, pure=False)

    def work(*args: Any) -> Any:
        try:
            return client.submit(_alone, held, *args, pure=False).result()
        except (KilledWorker, CancelledError) as exc:
            raise OSError(
                f"The cluster gave up: {exc} The same command goes on with the folds that were done."
            ) from exc

    return work


def _itself(held: Any) -> Any:
    return held


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
