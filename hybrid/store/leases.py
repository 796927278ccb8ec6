"""Leases: which images this process is computing just now. Byte locks in one file that die with their holder.

The operating system drops a process's locks the moment it ends, however it ends: no time-outs, no sweeping.
A fork inherits none. Claim in windows: they are a list (6 us a lease while 1,000 are held, 300 at 20,000).
"""

from __future__ import annotations

import os
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path

import numpy as np

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
    import msvcrt

GUARD = 0  # the byte whose lock says "writing"; leases lie on odd bytes
POLL_SECONDS = 0.002


def _lock(file: int, byte: int) -> bool:
    try:
        if fcntl:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, byte)
        else:
            os.lseek(file, byte, os.SEEK_SET)
            msvcrt.locking(file, msvcrt.LK_NBLCK, 1)
    except (BlockingIOError, PermissionError):  # POSIX allows either for "held by another"
        return False
    return True


def _unlock(file: int, byte: int) -> None:
    if fcntl:
        fcntl.lockf(file, fcntl.LOCK_UN, 1, byte)
    else:
        os.lseek(file, byte, os.SEEK_SET)
        msvcrt.locking(file, msvcrt.LK_UNLCK, 1)


def _places(scope: str, digests: Sequence[bytes]) -> list[int]:
    """Return the odd byte that stands for each digest; the file itself stays empty."""
    key = blake2b(scope.encode()).digest()
    hashes = (blake2b(digest, key=key, digest_size=8).digest() for digest in digests)
    return [int.from_bytes(one, "little") >> 2 | 1 for one in hashes]


class Leases:
    """This process's locks in one file. There must be one only: POSIX drops all when a descriptor closes."""

    def __init__(self, path: Path):
        self.path = path
        self._file: int | None = None
        self.forget()

    def forget(self) -> None:
        """Begin anew in a forked child, which has inherited the descriptor but none of the locks."""
        self._mutex = threading.Lock()
        self._holders: dict[int, int] = {}

    def claim(self, scope: str, digests: Sequence[bytes]) -> np.ndarray:
        """Return a mask of what this thread now holds; another living thread or process holds the rest."""
        me, living = threading.get_ident(), None
        mine = np.ones(len(digests), bool)
        with self._mutex:
            file = self._descriptor()
            for i, place in enumerate(_places(scope, digests)):
                holder = self._holders.get(place)
                if holder is None:
                    mine[i] = _lock(file, place)
                elif holder != me:
                    living = living or {thread.ident for thread in threading.enumerate()}
                    mine[i] = holder not in living
                if mine[i]:
                    self._holders[place] = me
        return mine

    def release(self, scope: str, digests: Sequence[bytes]) -> None:
        """Give back what this process holds among the digests."""
        with self._mutex:
            for place in _places(scope, digests):
                if self._holders.pop(place, None) is not None:
                    _unlock(self._file, place)

    def close(self) -> None:
        """Close the file, unless that would drop a lease."""
        with self._mutex:
            if self._file is not None and not self._holders:
                os.close(self._file)
                self._file = None

    @contextmanager
    def guard(self, patience: float) -> Iterator[None]:
        """Keep other processes from writing meanwhile; TimeoutError after so many seconds."""
        end = time.monotonic() + patience
        while True:
            with self._mutex:
                file = self._descriptor()
                if _lock(file, GUARD):
                    break
            if time.monotonic() > end:
                raise TimeoutError("locked by another process")
            time.sleep(POLL_SECONDS)
        try:
            yield
        finally:
            with self._mutex:
                _unlock(self._file, GUARD)

    def _descriptor(self) -> int:
        if self._file is not None:
            try:
                if os.path.samestat(os.stat(self.path), os.fstat(self._file)):
                    return self._file
            except FileNotFoundError:
                pass
            # The folder was removed, and locks in a file without a name bind nobody.
            os.close(self._file)
            self._file = None
        self._file = os.open(self.path, os.O_RDWR | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o600)
        if not stat.S_ISREG(os.fstat(self._file).st_mode):
            os.close(self._file)
            self._file = None
            raise OSError(f"{self.path.name!r} is no regular file")
        return self._file
