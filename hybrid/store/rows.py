"""The tables of the feature store, and the arithmetic on them: a connection and keys in, rows out.

A damaged page can do anything to a row. So a checksum covers key and value, and no type is trusted.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import closing
from math import ceil
from sqlite3 import Connection, DatabaseError
from zlib import crc32

import numpy as np

EVICT_TO = 0.9  # of the limit, so that a full store need not evict at every put
STAMP_SECONDS = 3600  # how coarse "last used" is: reading stays reading
CHUNK = 500  # keys a query: every SQLite takes 999

VERSION = 1
SCHEMA = (
    "CREATE TABLE recipes (id INTEGER PRIMARY KEY, text BLOB UNIQUE)",
    # Apart from the vectors, so that finding the oldest, or stamping one as used, touches no vector.
    "CREATE TABLE rows "
    "(id INTEGER PRIMARY KEY, recipe INTEGER, image BLOB, used INTEGER, UNIQUE (recipe, image))",
    "CREATE TABLE vectors (id INTEGER PRIMARY KEY, checksum INTEGER, value BLOB)",
    "CREATE TABLE files "
    "(id INTEGER PRIMARY KEY, path BLOB UNIQUE, stamp BLOB, checksum INTEGER, digest BLOB)",
    "CREATE TABLE counters (name TEXT PRIMARY KEY, value INTEGER)",
)
WANTED = (
    "SELECT r.id, r.image, r.used < ?, v.checksum, v.value FROM rows r JOIN vectors v ON v.id = r.id "
    "WHERE r.recipe = (SELECT id FROM recipes WHERE text = ?) AND r.image IN ({})"
)
STORED = (
    "SELECT v.id, v.checksum, q.text, r.image, v.value FROM vectors v "
    "LEFT JOIN rows r ON r.id = v.id LEFT JOIN recipes q ON q.id = r.recipe WHERE v.id "
)
OLDEST = "(SELECT id FROM rows ORDER BY used, id LIMIT ?)"
OLDEST_FILES = "(SELECT id FROM files ORDER BY id LIMIT ?)"


def checksum(*parts: bytes) -> int:
    """Cover a value and its key, so that a good value under another key is damaged too."""
    total = 0
    for part in parts:
        total = crc32(part, total)
    return total


def is_sound(total: object, *parts: object) -> bool:
    """Tell whether a row is as it was written."""
    return all(type(part) is bytes for part in parts) and checksum(*parts) == total


def chunks(keys: Sequence) -> Iterator[tuple[Sequence, str]]:
    """Yield some keys and as many question marks."""
    for start in range(0, len(keys), CHUNK):
        part = keys[start : start + CHUNK]
        yield part, ",".join("?" * len(part))


def read_rows(connection: Connection, recipe: bytes, digests: Sequence[bytes], width: int | None) -> tuple:
    """Return the vectors, which were found, and the row ids of what is "seen", "stale" and "damaged"."""
    where = {digest: i for i, digest in enumerate(digests)}
    found = np.zeros(len(digests), bool)
    vectors = None if width is None else np.empty((len(digests), width), "<f4")
    ids: dict[str, list[int]] = {"seen": [], "stale": [], "damaged": []}
    long_ago, start = time.time() - STAMP_SECONDS, crc32(recipe)
    for keys, marks in chunks(list(where)):
        query = connection.execute(WANTED.format(marks), (long_ago, recipe, *keys))
        # Row by row, for their memory stays warm; closed, for an open cursor lets nothing be written.
        with closing(query):
            for row, image, stale, total, value in query:
                sound = type(value) is bytes and crc32(value, crc32(image, start)) == total
                if sound and vectors is None:
                    vectors = np.empty((len(digests), len(value) // 4), "<f4")
                if not sound or len(value) != 4 * vectors.shape[1]:
                    ids["damaged"].append(row)
                    continue
                at = where[image]
                vectors[at] = np.frombuffer(value, "<f4")
                found[at] = True
                ids["stale" if stale else "seen"].append(row)
    if vectors is None:
        vectors = np.empty((len(digests), 0), "<f4")
    vectors[~found] = 0
    if len(where) < len(digests):
        source = [where[digest] for digest in digests]
        vectors, found = vectors[source], found[source]
    return vectors, found, ids


def write_rows(connection: Connection, recipe: bytes, digests: Sequence[bytes], vectors: np.ndarray) -> None:
    """Insert vectors, or write over what is under their keys."""
    connection.execute("INSERT OR IGNORE INTO recipes (text) VALUES (?)", [recipe])
    number = connection.execute("SELECT id FROM recipes WHERE text = ?", [recipe]).fetchone()
    if number is None:
        raise DatabaseError("what was written is not there")
    now = int(time.time())
    connection.executemany(
        "INSERT INTO rows (recipe, image, used) VALUES (?, ?, ?) "
        "ON CONFLICT (recipe, image) DO UPDATE SET used = excluded.used",
        [(*number, digest, now) for digest in digests],
    )
    pairs = zip(digests, [vector.tobytes() for vector in np.asarray(vectors, "<f4")], strict=True)
    connection.executemany(
        "REPLACE INTO vectors SELECT id, ?, ? FROM rows WHERE recipe = ? AND image = ?",
        [(checksum(recipe, digest, value), value, *number, digest) for digest, value in pairs],
    )


def stamp(connection: Connection, rows: Sequence[int]) -> None:
    """Mark rows as used now."""
    now = int(time.time())
    connection.executemany("UPDATE rows SET used = ? WHERE id = ?", [(now, row) for row in rows])


def discard(connection: Connection, rows: Sequence[int], width: int | None = None) -> None:
    """Delete those that are still damaged, or of another width: another process may have renewed some."""
    for keys, marks in chunks(rows):
        for row, *parts in connection.execute(f"{STORED} IN ({marks})", keys).fetchall():
            if not is_sound(*parts) or (width is not None and len(parts[-1]) != 4 * width):
                connection.execute("DELETE FROM vectors WHERE id = ?", [row])
                connection.execute("DELETE FROM rows WHERE id = ?", [row])


def used_bytes(connection: Connection) -> int:
    """Return the size of the pages in use; the others are used again before the file grows."""
    names = ("page_count", "freelist_count", "page_size")
    pages, free, size = (connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names)
    return (pages - free) * size


def size_of(connection: Connection, table: str) -> int:
    """Return the number of rows in a table."""
    return connection.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def evict(connection: Connection, limit: int) -> None:
    """Delete what was used least recently, down to a part of the limit."""
    while (excess := used_bytes(connection) - EVICT_TO * limit) > 0:
        share = excess / (excess + EVICT_TO * limit)
        rows, files = ceil(share * size_of(connection, "rows")), ceil(share * size_of(connection, "files"))
        connection.execute(f"DELETE FROM vectors WHERE id IN {OLDEST}", [rows])
        gone = connection.execute(f"DELETE FROM rows WHERE id IN {OLDEST}", [rows]).rowcount
        gone += connection.execute(f"DELETE FROM files WHERE id IN {OLDEST_FILES}", [files]).rowcount
        if not gone:
            return


def clear(connection: Connection, backbone: str | None) -> int:
    """Delete the rows of one backbone, or all, and give the room back; return how many. The counters stay."""
    gone = 0
    for recipe, text in connection.execute("SELECT id, text FROM recipes").fetchall():
        if backbone is None or _backbone(text) == backbone:
            theirs = "(SELECT id FROM rows WHERE recipe = ?)"
            connection.execute(f"DELETE FROM vectors WHERE id IN {theirs}", [recipe])
            gone += connection.execute("DELETE FROM rows WHERE recipe = ?", [recipe]).rowcount
            connection.execute("DELETE FROM recipes WHERE id = ?", [recipe])
    if backbone is None:
        for table in ("vectors", "rows", "files"):
            connection.execute(f"DELETE FROM {table}")
    # execute() would free one page; a script runs to its end, and commits before it begins.
    connection.executescript("PRAGMA incremental_vacuum; BEGIN")
    return gone


def _backbone(recipe: bytes) -> object:
    try:
        return json.loads(recipe)["backbone"]
    except (TypeError, ValueError, KeyError):  # a text that is damaged
        return None
