"""What a list of images is: rows in parts, each read when it is asked for, however many there are."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from hybrid.cluster.part import Inside, Part

if TYPE_CHECKING:
    import pyarrow

Batches = Callable[[int], Iterator[tuple["Sequence | Inside", "pyarrow.Table"]]]
COUNTED = 8192


@dataclass(frozen=True, eq=False)
class Listing:
    """Rows by batches: `batches(size)` yields their images and, as a table of `schema`, what else is known of them."""

    name: str
    schema: pyarrow.Schema
    batches: Batches
    rows: int | None = None

    def parts(self, size: int) -> Iterator[Part]:
        """Yield the rows in parts of one size; the last may be smaller."""
        first = 0
        for number, (images, about) in enumerate(self.batches(size)):
            yield Part(number, first, images, about)
            first += len(about)

    def count(self) -> int:
        """Return how many rows there are; where nothing tells, by reading all their names."""
        if self.rows is not None:
            return self.rows
        return sum(len(about) for _, about in self.batches(COUNTED))


def text_listing(name: str, columns: Sequence[str], rows: Callable[[], Iterator[tuple]]) -> Listing:
    """List rows of text, whose first cell is the image and whose other ones are of these columns."""
    import pyarrow

    schema = pyarrow.schema([(column, pyarrow.string()) for column in columns])

    def batches(size: int) -> Iterator[tuple]:
        found = rows()
        while batch := list(islice(found, size)):
            images, *cells = map(list, zip(*batch, strict=True))
            about = dict(zip(columns, cells, strict=True))
            yield images, pyarrow.table(about, schema) if about else bare(len(images))

    return Listing(name, schema, batches)


def bare(rows: int) -> pyarrow.Table:
    """A table of so many rows and no column."""
    import pyarrow

    return pyarrow.table({"": pyarrow.nulls(rows)}).select([])
