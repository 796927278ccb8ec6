"""A folder in; what this process has counted and read there, written when it is due or when the process ends, out."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from sqlite3 import Connection

from hybrid.store.database import PATIENCE, open_database
from hybrid.store.memory import Memory
from hybrid.store.rows import SCHEMA, VERSION, evict, stamp

FLUSH_SECONDS = 1


class Run:
    """What this process has counted and read in one folder; every FeatureStore on the folder shares it."""

    def __init__(self, folder: Path):
        self.database = open_database(folder / "features.sqlite", SCHEMA, VERSION)
        self.memory = Memory()
        self.patience = PATIENCE  # seconds to wait for images that another process computes
        self.begin()

    def begin(self) -> None:
        """Count from nothing: what a forked child inherits is its parent's to write."""
        self.tally: Counter[str] = Counter()
        self.seen: set[int] = set()
        self.flushed = 0.0

    def count(self, events: Mapping[str, int]) -> None:
        """Add to the counts that are due."""
        with self.database.lock:
            self.tally.update(events)

    def write(self, work: Callable[[Connection], object], patience: float | None = None) -> object:
        """Return `work(connection)`, in one transaction with the counts that are due; None if that failed."""
        due: Counter[str] = Counter()

        def both(connection: Connection) -> tuple:
            due.update(self.tally)
            self.tally.clear()
            connection.executemany(
                "INSERT INTO counters VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = value + excluded.value",
                due.items(),
            )
            return (work(connection),)

        self.flushed = time.monotonic()
        done = None
        try:
            done = self.database.write(both, patience)
        finally:
            if done is None:
                self.count(due)
        return done[0] if done else None

    def evict(self, limit: int) -> None:
        """Make room; what this run has read counts as used now."""

        def work(connection: Connection):
            stamp(connection, list(self.seen))
            self.seen.clear()
            evict(connection, limit)

        self.write(work)

    def close(self) -> None:
        """Write the counts that are due and close the file."""
        if self.tally.total():
            self.write(lambda connection: None, patience=1)
        self.database.close()


_runs: dict[Path, Run] = {}
_registry = threading.Lock()


def run_in(folder: Path) -> Run:
    """Return the one Run of a folder."""
    with _registry:
        return _runs.get(folder) or _runs.setdefault(folder, Run(folder))


@atexit.register
def _close_all() -> None:
    for run in _runs.values():
        run.close()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.Lock()
    for run in _runs.values():
        run.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
