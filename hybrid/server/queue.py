"""Images of many requests in, a future each out: what waits at a time is answered together."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Condition, Thread
from typing import Generic, TypeVar

from hybrid.server.limits import Full

# One batch is decoded while the network runs another.
WORKERS = 2
Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Queue(Generic[Item, Answer]):
    """A bounded queue and its threads; `work` takes up to `most` items and returns an answer for each.

    Examples
    --------
    >>> with Queue(lambda words: [word.upper() for word in words], capacity=8, most=4) as queue:
    ...     [future.result() for future in queue.put(["a", "b"])]
    ['A', 'B']
    """

    def __init__(
        self,
        work: Callable[[list[Item]], Sequence[Answer]],
        capacity: int,
        most: int,
        workers: int | None = None,
    ):
        self.work, self.capacity, self.most = work, capacity, most
        self.waiting: deque[tuple[Item, Future[Answer]]] = deque()
        self.changed, self.closed = Condition(), False
        self.threads = [Thread(target=self.run, daemon=True) for _ in range(workers or WORKERS)]

    def __enter__(self) -> Queue[Item, Answer]:
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Take no more, and answer what waits."""
        with self.changed:
            self.closed = True
            self.changed.notify_all()
        for thread in self.threads:
            thread.join()

    @property
    def alive(self) -> bool:
        """Whether all threads work."""
        return all(thread.is_alive() for thread in self.threads)

    def put(self, items: Sequence[Item]) -> list[Future[Answer]]:
        """Let items wait for their answers: all of them, or none if there is no room."""
        with self.changed:
            if self.closed or len(self.waiting) + len(items) > self.capacity:
                raise Full
            futures: list[Future[Answer]] = [Future() for _ in items]
            self.waiting.extend(zip(items, futures, strict=True))
            self.changed.notify()
        return futures

    def run(self) -> None:
        while batch := self.take():
            items, futures = zip(*batch, strict=True)
            try:
                for future, answer in zip(futures, self.work(list(items)), strict=True):
                    future.set_result(answer)
            except Exception as exc:
                for future in futures:
                    if not future.done():
                        future.set_exception(exc)

    def take(self) -> list[tuple[Item, Future[Answer]]]:
        """Wait for items, and take those that somebody still waits for; none once the queue is closed and empty."""
        while True:
            with self.changed:
                self.changed.wait_for(lambda: self.waiting or self.closed)
                some = [self.waiting.popleft() for _ in range(min(self.most, len(self.waiting)))]
            batch = [pair for pair in some if pair[1].set_running_or_notify_cancel()]
            if batch or not some:
                return batch
