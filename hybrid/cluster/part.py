"""Some rows of a list: what a worker is sent to make a part of; the images stay where they are."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import TYPE_CHECKING

from hybrid.datasets.tables import locate, named, unwrapped
from hybrid.images.decoding import digest
from hybrid.images.source import URL, read
from hybrid.spelling import BYTES, spelt

if TYPE_CHECKING:
    import pyarrow

BATCH = 1024


@dataclass(frozen=True)
class Inside:
    """Images that lie in a Parquet file themselves: where they do, so that no driver reads them."""

    file: str
    column: str
    first: int
    count: int
    urls: bool

    def read(self) -> list:
        """Return the cells: bytes, or what Hugging Face's datasets make of an image."""
        import pyarrow.parquet

        cells, start, end = [], self.first, self.first + self.count
        with pyarrow.parquet.ParquetFile(self.file) as table:
            at = 0
            for group in range(table.num_row_groups):
                rows = table.metadata.row_group(group).num_rows
                if at < end and at + rows > start:
                    cells += self._cells(table, group, start - at, end - at)
                at += rows
        return placed(cells, os.path.dirname(self.file), self.urls, self.first)

    def _cells(self, table: pyarrow.parquet.ParquetFile, group: int, start: int, end: int) -> list:
        """Return some rows of a row group, which may be the whole file: what lies before them isn't kept."""
        cells, at = [], 0
        for batch in table.iter_batches(BATCH, row_groups=[group], columns=[self.column]):
            cells += batch.column(0)[max(start - at, 0) : max(end - at, 0)].to_pylist()
            at += len(batch)
            if at >= end:
                break
        return cells


@dataclass(frozen=True, eq=False)
class Part:
    """Some rows of a list: their images or where these lie, what else is known of each, and the first one's number."""

    number: int
    first: int
    images: Sequence | Inside
    about: pyarrow.Table

    def loaded(self) -> Part:
        """The same with the images that lie in a file."""
        return replace(self, images=self.images.read()) if isinstance(self.images, Inside) else self

    def paths(self) -> list[str]:
        """Return what the images of a loaded part are called: by path, or by number."""
        return [
            spelt(os.fsdecode(image)) if isinstance(image, str | os.PathLike) else f"#{self.first + i}"
            for i, image in enumerate(self.images)
        ]

    def row(self, i: int) -> Part:
        """One row of a part that is loaded."""
        return replace(self, first=self.first + i, images=self.images[i : i + 1], about=self.about.take([i]))

    def digest(self) -> str:
        """Tell whether another list has the same rows here; of files, their names count."""
        if isinstance(self.images, Inside):
            status = os.stat(self.images.file)
            images = [self.images.file, status.st_size, status.st_mtime_ns, self.images.first]
        else:
            images = [_content(one) for one in self.images]
        told = json.dumps([images, len(self.about), self.about.to_pylist()], default=str)
        return blake2b(told.encode(errors="surrogatepass"), digest_size=16).hexdigest()


def _content(image: object) -> object:
    """Return what tells an image of a list from others."""
    if image is None or isinstance(image, str | os.PathLike):
        return image and os.fspath(image)
    return digest(read(image)).hex()


def placed(values: Iterable, folder: str, urls: bool, first: int) -> list:
    """Return images with their paths joined to a list's folder; a URL that nobody asked for is refused."""
    values = [unwrapped(one) for one in values]
    values = [None if isinstance(one, str) and not one.strip() else one for one in values]
    paths = [isinstance(value, str | os.PathLike) for value in values]
    remote = [path and bool(URL.match(os.fspath(value))) for value, path in zip(values, paths, strict=True)]
    if any(remote) and not urls:
        rows = named([f"row {first + i}: {values[i]:.200}" for i, one in enumerate(remote) if one], 5)
        raise ValueError(
            f"Expected files, but found URLs, which are fetched only with urls=True, or --urls: {rows}. "
            "Correct or remove these rows."
        )
    local = [path and not url for path, url in zip(paths, remote, strict=True)]
    return [_join(folder, value) if path else value for value, path in zip(values, local, strict=True)]


def _join(folder: str, path: str | os.PathLike) -> str:
    """Return where an image lies; only a name that may be spelt costs a look at the disk."""
    path = os.fspath(path)
    return locate(folder, path) if BYTES.search(path) else os.path.join(folder, path)
