"""A number of processes in; a Dask cluster of them on this machine out, each on its share of the cores."""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING

import joblib

if TYPE_CHECKING:
    from distributed import LocalCluster

BOUNDED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "TF_NUM_INTRAOP_THREADS")
LOOPBACK = "127.0.0.1"
# A busy machine takes some seconds to restart a worker: one that isn't back after so many is lost.
LOST_SECONDS, LOOK_SECONDS = 15, 1


@contextmanager
def local_cluster(workers: int) -> Iterator[LocalCluster]:
    """Start so many processes, which speak TLS on the loopback with certificates of their own."""
    import dask
    from tornado.ioloop import PeriodicCallback

    share = max(1, joblib.cpu_count() // workers)
    settings = {
        # Not Dask's own, with which each picture's memory goes back to the system: that takes a fifth of all time.
        "distributed.nanny.pre-spawn-environ": {"MALLOC_TRIM_THRESHOLD_": None}
        | dict.fromkeys(BOUNDED, share),
        "distributed.worker.profile.enabled": False,
        "distributed.scheduler.http.routes": [],
    }
    with _same_environment(), dask.config.set(settings):
        # Those that start later, in place of lost ones, set it again.
        with _same_environment():
            cluster = _started(workers)
        watch = PeriodicCallback(_refill(cluster, workers), 1000 * LOOK_SECONDS)
        cluster.loop.add_callback(watch.start)
        try:
            yield cluster
        finally:
            cluster.loop.add_callback(watch.stop)
            # Of a worker that dies as it comes, Dask's own count loses track.
            with suppress(KeyError):
                cluster.close()


def _started(workers: int) -> LocalCluster:
    from distributed import LocalCluster

    return LocalCluster(
        n_workers=workers,
        threads_per_worker=1,
        host=LOOPBACK,
        # Parts are bounded; a worker that Dask pauses for its memory might never go on.
        memory_limit=0,
        security=True,
        # No pages for others of this machine, on a port that is free.
        dashboard_address=f"{LOOPBACK}:0",
        scheduler_kwargs={"dashboard": False},
        # A worker that dies is told of by whoever gave it work.
        silence_logs=logging.CRITICAL,
    )


@contextmanager
def _same_environment() -> Iterator[None]:
    """Put back what Dask sets in this process's environment for the processes that it starts."""
    names = *BOUNDED, "PYTHONHASHSEED"
    before = {name: os.environ[name] for name in names if name in os.environ}
    try:
        yield
    finally:
        for name in names:
            os.environ.pop(name, None)
        os.environ.update(before)


def _refill(cluster: LocalCluster, workers: int) -> Callable[[], None]:
    """Return what replaces lost workers: Dask gives up one that dies before it has said that it is up."""
    absent: dict[object, float] = {}
    closing: set[asyncio.Future] = set()

    def look() -> None:
        there = {worker.name for worker in cluster.scheduler.workers.values()}
        for name in there:
            absent.pop(name, None)
        for name, worker in list(cluster.workers.items()):
            if (
                name not in there
                and time.monotonic() - absent.setdefault(name, time.monotonic()) > LOST_SECONDS
            ):
                del cluster.workers[name], absent[name]
                closing.add(asyncio.ensure_future(worker.close()))
        # To ask for as many as there should be is to have those made that are missing.
        cluster.scale(workers)

    return look
