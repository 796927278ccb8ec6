"""The feature store: (content of an image, recipe) -> vector, in one SQLite file for all processes.

`put` fills it, `get` reads it; a row that is not there, or not as it was written, is a miss.
Whatever befalls the file, nothing that computing stands on raises: see `hybrid.store.database`. SQLite's locks and
shared memory bind the processes of one machine only: on network file systems, keep one store a host.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Hashable, Iterator, Mapping, Sequence
from contextlib import suppress
from operator import index
from pathlib import Path
from sqlite3 import Connection

import numpy as np

from hybrid.archive.place import whole
from hybrid.home import home
from hybrid.sources.catalogue import find, is_name
from hybrid.store.database import IMPATIENCE
from hybrid.store.memory import RACY_SECONDS, Memory
from hybrid.store.rows import (
    CHUNK,
    STORED,
    checksum,
    chunks,
    clear,
    discard,
    is_sound,
    read_rows,
    size_of,
    stamp,
    used_bytes,
    write_rows,
)
from hybrid.store.run import FLUSH_SECONDS, run_in

LIMIT = "10GB"
UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
COUNTERS = ("hits", "misses", "passes")


def read_limit(limit: int | str) -> int:
    """Return the bytes of a size such as 1000000, '500MB' or '10GB'."""
    try:
        if isinstance(limit, str):
            number, unit = re.fullmatch(r"(\d+\.?\d*)([kmgt]?)b?", limit.replace(" ", "").lower()).groups()
            size = int(float(number) * UNITS[unit])
        else:
            size = 0 if isinstance(limit, bool) else index(limit)
    except (AttributeError, TypeError):
        size = 0
    if size <= 0:
        raise ValueError(f"Got limit={limit!r}, but expected a size such as '10GB', '500MB' or 1000000.")
    return size


def _file_key(path: str | os.PathLike) -> bytes:
    """Name a file for good; bytes, for not every file's name is text."""
    return os.fsencode(os.path.abspath(path))


def _file_stamp(status: os.stat_result) -> bytes:
    """Return what changes with a file's content; ctime too, because copying tools set mtime back."""
    return b"%d %d %d %d" % (status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)


_stores: dict[Path, FeatureStore] = {}


def open_store(store: str | os.PathLike | FeatureStore | None) -> FeatureStore | None:
    """Return the store that a `store` parameter means: "auto", a folder, a FeatureStore or None."""
    if store is None or isinstance(store, FeatureStore):
        return store
    if not isinstance(store, (str, os.PathLike)):
        raise TypeError(f"Got store={store!r}, but expected 'auto', a folder, a FeatureStore or None.")
    opened = FeatureStore(None if store == "auto" else store)
    return _stores.setdefault(opened.path, opened)


class FeatureStore:
    """Feature vectors by the content of the image and the recipe of the network that made them.

    Any number of threads and processes may use one folder at once. A full, locked, read-only or damaged store
    warns once and acts as if it were empty; a damaged file is set aside, under a name that says so.

    Parameters
    ----------
    path : str or path, default=None
        The folder. None means what the environment variable HYBRID_STORE names, or the user's cache folder.
    limit : int or str, default=None
        The size at which the least recently used vectors are dropped, such as ``"500MB"``. None means what
        HYBRID_STORE_LIMIT says, or 10 GB.

    Examples
    --------
    >>> from tempfile import mkdtemp
    >>> import numpy as np
    >>> from hybrid import FeatureStore
    >>> store = FeatureStore(mkdtemp(), limit="1GB")
    >>> recipe = '{"backbone": "tiny"}'
    >>> store.put([b"cat", b"dog"], {recipe: np.eye(2)})
    True
    >>> vectors, found = store.get(recipe, [b"dog", b"emu"])
    >>> vectors[0], found
    (array([0., 1.], dtype=float32), array([ True, False]))
    >>> store.clear(backbone="tiny")
    2
    """

    def __init__(self, path: str | os.PathLike | None = None, limit: int | str | None = None):
        self.path = Path(home() if path is None else path).expanduser().resolve()
        self.limit = read_limit(os.environ.get("HYBRID_STORE_LIMIT") or LIMIT if limit is None else limit)
        if os.path.isfile(self.path):
            raise ValueError(f"Got path={str(self.path)!r}, which is a file, but expected a folder.")
        self._run = run_in(self.path)
        self._database = self._run.database

    def __reduce__(self) -> tuple:
        return FeatureStore, (str(self.path), self.limit)

    def __repr__(self) -> str:
        return f"FeatureStore({str(self.path)!r}, limit={self.limit})"

    def get(
        self, recipe: str, digests: Sequence[bytes], width: int | None = None, count: bool = True
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return float32 vectors (n, width), zero where there is none, and a mask of those found.

        Without a width it is the stored vectors' own. `count=False` leaves the counters alone.
        """
        run, text = self._run, recipe.encode()
        answer = self._database.read(lambda c: read_rows(c, text, digests, width))
        if answer is None:
            answer = np.zeros((len(digests), width or 0), np.float32), np.zeros(len(digests), bool), {}
        vectors, found, rows = answer
        if count:
            hits = int(found.sum())
            run.count({"hits": hits, "misses": len(digests) - hits})
        if rows.get("damaged"):
            run.write(lambda c: discard(c, rows["damaged"], width), patience=1)
        with self._database.lock:
            run.seen.update(rows.get("seen", ()))
        stale = rows.get("stale", ())
        if stale or (run.tally.total() and time.monotonic() - run.flushed > FLUSH_SECONDS):
            run.write(lambda c: stamp(c, stale), patience=0)
        return vectors, found

    @property
    def memory(self) -> Memory:
        """What this process read last."""
        return self._run.memory

    def recall(self, recipe: Hashable, files: Sequence[tuple]) -> np.ndarray | None:
        """Return the rows of files as this process read them last, if it has all of them."""
        rows = self.memory.get(recipe, files)
        if rows is not None:
            self._run.count({"hits": len(files) * len(recipe.parts)})
        return rows

    def put(self, digests: Sequence[bytes], rows: Mapping[str, np.ndarray], passes: int = 0) -> bool:
        """Keep images' vectors under their recipes, in one transaction; True once no kill can lose them.

        `passes` is how many images went through the network for it.
        """
        self._run.count({"passes": passes})

        def work(connection: Connection):
            for recipe, vectors in rows.items():
                write_rows(connection, recipe.encode(), digests, vectors)
            return used_bytes(connection)

        used = self._run.write(work)
        if used is not None and used > self.limit:
            self._run.evict(self.limit)
        return used is not None

    def claim(self, scope: str, digests: Sequence[bytes]) -> np.ndarray:
        """Return a mask of the images that are this thread's to compute; the others are being computed.

        A lease lasts until it is released or its holder ends. Look again in the store after a claim: an image
        may have been stored since the last look.
        """
        if self._database.read(lambda c: True, False) and self._database.writable:
            with suppress(OSError):  # no locks here: some images may be computed twice
                return self._database.leases.claim(scope, digests)
        return np.ones(len(digests), bool)

    @property
    def patience(self) -> float:
        """How many seconds to wait for images that are being computed elsewhere, while none of them comes."""
        return self._run.patience

    def give_up(self) -> None:
        """Say, once, that a wait was in vain, and wait no longer from now on."""
        text = (
            f"has been waited on for {self.patience:.0f} s while another process computes what is asked for."
        )
        self._run.patience = IMPATIENCE
        self._database.say("waited", f"{text} Is it suspended? Computing that here as well.")

    def release(self, scope: str, digests: Sequence[bytes]) -> None:
        """Give back what was claimed."""
        with suppress(OSError):
            self._database.leases.release(scope, digests)

    def known(self, paths: Sequence[str | os.PathLike]) -> list[bytes | None]:
        """Return the remembered digest of each file that has not changed since, None for the others."""
        keys: list[tuple[bytes, bytes] | None] = []
        for path in paths:
            try:
                keys.append((_file_key(path), _file_stamp(os.stat(path))))
            except (OSError, ValueError):  # ValueError: a null in the name
                keys.append(None)

        def work(connection: Connection):
            digests = {}
            for part, marks in chunks([key[0] for key in keys if key]):
                query = f"SELECT checksum, path, stamp, digest FROM files WHERE path IN ({marks})"
                for total, *parts in connection.execute(query, part).fetchall():
                    if is_sound(total, *parts):
                        digests[parts[0], parts[1]] = parts[2]
            return digests

        digests = self._database.read(work, {})
        return [digests.get(key) for key in keys]

    def remember(
        self, entries: Sequence[tuple[str | os.PathLike, os.stat_result, bytes]], since: float | None = None
    ) -> None:
        """Remember files' digests by (path, status taken before reading, digest).

        A file that was just written might be written again and keep its time, for file systems' clocks are
        coarse (git calls it racy): it is not remembered. `since` is when the statuses were taken, or now.
        """
        horizon = 1e9 * ((time.time() if since is None else since) - RACY_SECONDS)
        rows = []
        for path, status, digest in entries:
            if status.st_mtime_ns < horizon:
                parts = _file_key(path), _file_stamp(status), digest
                rows.append((checksum(*parts), *parts))
        if rows:
            statement = "REPLACE INTO files (checksum, path, stamp, digest) VALUES (?, ?, ?, ?)"
            self._run.write(lambda c: c.executemany(statement, rows))

    def stats(self) -> dict[str, object]:
        """Return path, limit, bytes in use, rows, known files, and hits, misses and passes of all time."""

        def work(connection: Connection):
            query = "SELECT CAST(total(value) AS INTEGER) FROM counters WHERE name = ?"
            counts = {name: connection.execute(query, [name]).fetchone()[0] for name in COUNTERS}
            rows, files = size_of(connection, "rows"), size_of(connection, "files")
            return {"bytes": used_bytes(connection), "rows": rows, "files": files} | counts

        with self._database.lock:
            stored = self._database.read(work, dict.fromkeys(("bytes", "rows", "files", *COUNTERS), 0))
            due = {name: stored[name] + self._run.tally[name] for name in COUNTERS}
        return {"path": str(self.path), "limit": self.limit} | stored | due

    def verify(self) -> dict[str, int]:
        """Read every row and remove the damaged; return how many were good and how many damaged."""
        good = damaged = 0
        for page in self._pages():
            bad = [row for row, *parts in page if not is_sound(*parts)]
            good, damaged = good + len(page) - len(bad), damaged + len(bad)
            if bad:
                self._run.write(lambda c, bad=bad: discard(c, bad))
        return {"good": good, "damaged": damaged}

    def clear(self, backbone: str | None = None) -> int:
        """Remove all rows, or one backbone's, by any way to write its name; return how many."""
        if backbone is not None and is_name(backbone):
            backbone = find(backbone).name
        self.memory.clear()
        return self._run.write(lambda c: clear(c, backbone)) or 0

    def export(self, path: str | os.PathLike) -> int:
        """Write all rows to a Parquet file: image (hexadecimal digest), recipe, vector; return how many."""
        try:
            import pyarrow as pa
            from pyarrow.parquet import ParquetWriter
        except ImportError as exc:
            raise ImportError("FeatureStore.export needs pyarrow: pip install pyarrow") from exc
        types = {"image": pa.string(), "recipe": pa.string(), "vector": pa.list_(pa.float32())}
        written = 0
        with whole(path) as file, ParquetWriter(file, pa.schema(types)) as writer:
            for page in self._pages():
                rows = [
                    {"image": image.hex(), "recipe": recipe.decode(), "vector": np.frombuffer(value, "<f4")}
                    for _, total, recipe, image, value in page
                    if is_sound(total, recipe, image, value)
                ]
                writer.write_table(pa.Table.from_pylist(rows, pa.schema(types)))
                written += len(rows)
        return written

    def close(self) -> None:
        """Write the counts and close the file; the next call opens it again."""
        self._run.close()

    def _pages(self) -> Iterator[list[tuple]]:
        last = -(2**63)
        query = f"{STORED} > ? ORDER BY v.id LIMIT {CHUNK}"
        while page := self._database.read(lambda c, last=last: c.execute(query, [last]).fetchall(), []):
            yield page
            if page[-1][0] <= last:  # a damaged tree leads back
                return
            last = page[-1][0]
