"""A function and any number of calls in; each call's future, once it is done, out: a bounded number is on its way."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distributed import Client, Future


def flow(
    client: Client, function: Callable, calls: Iterable[tuple], ahead: int = 2
) -> Iterator[tuple[tuple, Future]]:
    """Yield each call with its future, in the order in which they end; `ahead` a thread of the cluster wait or run."""
    from distributed import as_completed

    running, done = {}, as_completed(loop=client.loop)
    try:
        for call in calls:
            future = client.submit(function, *call, pure=False)
            running[future] = call
            done.add(future)
            while len(running) >= ahead * max(1, sum(client.nthreads().values())):
                future = next(done)
                yield running.pop(future), future
        for future in done:
            yield running.pop(future), future
    finally:
        # With a scheduler that is lost, nothing runs any more.
        with suppress(Exception):
            client.cancel(list(running))


def outcome(future: Future) -> Any:
    """Return what a call gave, or None if its workers died of it, again and again; any other error is raised.

    They may die of it after it is done, too: what it gave is gone with its worker, and the call made once more.
    """
    from distributed import KilledWorker

    try:
        return future.result()
    except KilledWorker:
        return None
    except CancelledError as exc:
        raise OSError(f"The scheduler was lost: {exc} Start it again: the same command goes on.") from exc
