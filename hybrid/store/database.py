"""One SQLite file that lets nobody down: work goes in, its result comes out, or a default and one warning.

A damaged file is set aside and begun anew, a read-only one is read, any other fault means going on without. Damage is
whatever SQLite says that is no fault of the disk, of our rights or of others who hold the file.

Renaming a database that others have open is how databases are lost. So every process opens, writes, closes and
sets aside under one lock beside the file, and writes only after looking whether it is still the file it opened.
"""

from __future__ import annotations

import errno
import os
import sqlite3
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any

from hybrid.store.leases import Leases

PATIENCE = 30.0
IMPATIENCE = 0.1  # for closing, and once a wait of PATIENCE has been in vain
MAX_SET_ASIDE = 3  # by one process: a disk that damages every file would fill up with damaged ones
WAL_MB = 16  # 4 us a row faster than SQLite's own 4 MB
BUSY = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
SURROUNDINGS = BUSY | {
    sqlite3.SQLITE_AUTH,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_INTERRUPT,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_NOLFS,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_READONLY,
}
# The file last: a new one must never find the old one's journal.
SUFFIXES = ("-wal", "-shm", "-journal", "")

_databases: dict[Path, _Database] = {}
_registry = threading.Lock()


class _Refused(OSError):
    """What is there is not ours to read."""


class _Database:
    """A file that holds one schema; there is one a (path, process): see `database`."""

    def __init__(self, path: Path, schema: Sequence[str], version: int):
        self.path = path
        self.schema, self.version = schema, version
        self.leases = Leases(path.with_suffix(".lock"))
        self.lock = threading.RLock()
        self.writable = True
        self._read_only = False
        self._guarded = False
        self._connection: sqlite3.Connection | None = None
        self._opened: tuple[int, int] | None = None
        self._patience = PATIENCE
        self._set_aside = 0
        self._warned: set[object] = set()
        self._unsaid: list[str] = []

    def read(self, work: Callable[[sqlite3.Connection], Any], default: Any = None) -> Any:
        """Return `work(connection)`, or the default where the file will not have it."""
        return self._attempt(lambda: work(self._connected()), default)

    def write(self, work: Callable[[sqlite3.Connection], Any], patience: float | None = None) -> Any:
        """Return `work(connection)`, done as one transaction, or None; a patience given ends in silence."""
        return self._attempt(lambda: self._transaction(work, patience), None, patience)

    def close(self) -> None:
        """Close the file; the next read or write opens it again."""
        with self.lock:
            self._disconnect()
            self._opened = None
            self.leases.close()

    def _attempt(self, action: Callable[[], Any], default: Any, patience: float | None = None) -> Any:
        try:
            for last in (False, True):
                # Locked until it is healed, lest another thread's healthy new file be set aside.
                with self.lock:
                    try:
                        return action()
                    except (sqlite3.Error, OSError, UnicodeDecodeError) as exc:
                        if not self._heal(exc, patience, last):
                            return default
        finally:
            self._speak()

    def _transaction(self, work: Callable[[sqlite3.Connection], Any], patience: float | None) -> Any:
        self._connected()
        if self._read_only:
            return None
        with self._guard(self._patience if patience is None else patience):
            connection = self._connected()  # again: it may have been set aside while we waited
            connection.execute("BEGIN IMMEDIATE")
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        self.writable = True
        self._be_patient(PATIENCE)
        return result

    def _connected(self) -> sqlite3.Connection:
        if self._connection is None or _identity(self.path) != self._opened:
            self._disconnect()
            try:
                self._open()
            except BaseException:
                self._disconnect()
                raise
        return self._connection

    def _disconnect(self) -> None:
        if self._connection is None:
            return
        connection, self._connection = self._connection, None
        try:
            # The last to close deletes the -wal by its name, which must still be that of the same file.
            with self._guard(IMPATIENCE):
                connection.close()
        except OSError:
            connection.close()

    @contextmanager
    def _guard(self, patience: float) -> Iterator[None]:
        if self._guarded:
            yield
            return
        with self.leases.guard(patience):
            self._guarded = True
            try:
                yield
            finally:
                self._guarded = False

    def _open(self) -> None:
        try:
            self._read_only = False
            self._refuse_pipes()
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._guard(self._patience):
                self._open_writable()
        except (sqlite3.OperationalError, OSError) as exc:
            if isinstance(exc, _Refused) or _busy(exc) or not os.path.exists(self.path):
                raise
            self._disconnect()
            self._read_only, self.writable = True, False
            if not self._open_read_only():
                raise
            self._say("read-only", f"cannot be written ({exc}). Reading what is there.")

    def _refuse_pipes(self) -> None:
        """Refuse a folder or a pipe in the place of a file: SQLite would wait for the other end of a pipe."""
        for place in (f"{self.path}{suffix}" for suffix in SUFFIXES):
            if os.path.exists(place) and not os.path.isfile(place):
                raise _Refused(f"{os.path.basename(place)!r} is no regular file")

    def _open_writable(self) -> None:
        if not os.path.exists(self.path):
            if self._opened:
                self._say("gone", "is gone: it was removed, or set aside by another process. Starting anew.")
            # Made here for the user alone: SQLite gives -wal and -shm the rights of the file.
            os.close(os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600))
        elif not os.access(self.path, os.W_OK):
            raise PermissionError(errno.EACCES, "no right to write")
        self._connect("?mode=rw")
        connection = self._connection
        if not self._is_ready():
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
            connection.execute("BEGIN IMMEDIATE")
            for statement in self.schema:
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {self.version}")
            connection.execute("COMMIT")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("PRAGMA cell_size_check = ON")
        connection.execute(f"PRAGMA wal_autocheckpoint = {WAL_MB * 2**20 // 4096}")
        connection.execute(f"PRAGMA journal_size_limit = {2 * WAL_MB * 2**20}")

    def _open_read_only(self) -> bool:
        try:
            self._connect("?mode=ro")
            return self._is_ready()
        except sqlite3.OperationalError:  # it needs a -shm
            self._connection.close()
            self._connect("?immutable=1")  # sees no -wal
            return self._is_ready()

    def _connect(self, mode: str) -> None:
        self._opened = _identity(self.path)
        self._connection = sqlite3.connect(
            self.path.as_uri() + mode,
            uri=True,
            timeout=self._patience,
            isolation_level=None,
            check_same_thread=False,
        )
        self._connection.text_factory = bytes  # a damaged text must not fail to decode

    def _is_ready(self) -> bool:
        version = self._connection.execute("PRAGMA user_version").fetchone()[0]
        tables = self._connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
        if version == self.version:
            return True
        if version or tables:
            raise _Refused(f"its format is {version}, this version of hybrid knows {self.version}")
        return False

    def _heal(self, exc: Exception, patience: float | None, last: bool) -> bool:
        """Set a damaged file aside and return True; or say that this is done without."""
        if _is_damage(exc) and not (last or self._read_only or self._set_aside == MAX_SET_ASIDE):
            try:
                self._move_aside(exc)
                return True
            except OSError as obstacle:
                exc = obstacle
        if _busy(exc):
            if patience is not None:
                return False
            self._be_patient(IMPATIENCE)
        elif _code(exc) != sqlite3.SQLITE_FULL:
            self._disconnect()
        self.writable = False
        self._say(_code(exc), f"cannot be used ({exc}). Going on without it.")
        return False

    def _move_aside(self, exc: Exception) -> None:
        self._disconnect()
        with self._guard(self._patience):
            if _identity(self.path) != self._opened:
                return  # another process has done it
            stamp = datetime.now().strftime("%Y%m%d-%H%M%S-%f")
            aside = self.path.with_name(f"{self.path.stem}.damaged-{stamp}{self.path.suffix}")
            for suffix in SUFFIXES:
                if os.path.exists(f"{self.path}{suffix}"):
                    os.rename(f"{self.path}{suffix}", f"{aside}{suffix}")
        self._opened = None
        self._set_aside += 1
        self._say("damaged", f"is damaged ({exc}). It was set aside as '{aside.name}'; starting anew.")

    def _be_patient(self, seconds: float) -> None:
        if seconds != self._patience:
            self._patience = seconds
            if self._connection is not None:
                self._connection.execute(f"PRAGMA busy_timeout = {int(seconds * 1000)}")

    def say(self, kind: object, text: str) -> None:
        """Warn of something, once."""
        with self.lock:
            self._say(kind, text)
        self._speak()

    def _say(self, kind: object, text: str) -> None:
        if kind not in self._warned:
            self._warned.add(kind)
            self._unsaid.append(f"Feature store '{self.path}' {text}")

    def _speak(self) -> None:
        # Outside the lock: a warning runs code of others, which may wait for a thread that waits for us.
        with self.lock:
            texts, self._unsaid = self._unsaid, []
        for text in texts:
            warnings.warn(text, RuntimeWarning, stacklevel=5)


def open_database(path: Path, schema: Sequence[str], version: int) -> _Database:
    """Return this process's one handle on a file."""
    with _registry:
        if path not in _databases:
            _databases[path] = _Database(path, schema, version)
        return _databases[path]


def _code(exc: Exception) -> object:
    """SQLite's primary code of an error, or its class and errno."""
    if isinstance(exc, sqlite3.Error):
        return getattr(exc, "sqlite_errorcode", 0) & 0xFF
    return type(exc), getattr(exc, "errno", None)


def _is_damage(exc: Exception) -> bool:
    """Tell a fault of the file; UnicodeDecodeError is how Python takes a message that quotes a damaged schema."""
    if isinstance(exc, sqlite3.DatabaseError) and not isinstance(exc, sqlite3.ProgrammingError):
        return _code(exc) not in SURROUNDINGS
    return isinstance(exc, UnicodeDecodeError)


def _busy(exc: Exception) -> bool:
    return isinstance(exc, TimeoutError) or _code(exc) in BUSY


def _identity(path: Path) -> tuple[int, int] | None:
    try:
        status = os.stat(path)
    except OSError:
        return None
    return status.st_dev, status.st_ino


_forking: list[_Database] = []


def _before_fork() -> None:
    # A connection must not cross a fork, even unused: SQLite would take the parent's locks for the child's.
    _forking[:] = _databases.values()
    for one in _forking:
        one.lock.acquire()
        one.close()


def _after_fork_in_parent() -> None:
    for one in reversed(_forking):
        one.lock.release()


def _after_fork_in_child() -> None:
    global _registry
    _registry = threading.Lock()
    for one in _forking:
        one.lock = threading.RLock()
        one.leases.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
