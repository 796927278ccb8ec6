"""A CSV or Parquet list of any length, or a DataFrame, in; its rows, a batch at a time, with all their columns out."""

from __future__ import annotations

import csv
import os
from collections.abc import Hashable, Iterator
from typing import TYPE_CHECKING

from hybrid.cluster.listing import Listing, bare, text_listing
from hybrid.cluster.part import Inside, placed
from hybrid.datasets.tables import find_column, find_separator, named, refuse_doubled
from hybrid.spelling import uncell

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow

Column = Hashable | None
# What parts call their own columns.
OWN = ("path", "digest", "features")


def list_frame(frame: pd.DataFrame, image: Column, label: Column, urls: bool) -> Listing:
    """List a DataFrame, which may hold the images themselves: these travel to the workers."""
    import pyarrow

    source, kept = _columns(list(frame.columns), image, label)
    rest = frame[list(kept)].rename(columns=kept)
    schema = pyarrow.Schema.from_pandas(rest, preserve_index=False).remove_metadata()

    def batches(size: int) -> Iterator[tuple]:
        for start in range(0, len(frame), size):
            rows = slice(start, start + size)
            images = placed(frame[source].iloc[rows], os.getcwd(), urls, start)
            about = pyarrow.Table.from_pandas(rest.iloc[rows], schema, preserve_index=False)
            yield images, about.replace_schema_metadata() if kept else bare(len(images))

    return Listing("a DataFrame", schema, batches, len(frame))


def list_parquet(path: str, image: Column, label: Column, urls: bool) -> Listing:
    """List a Parquet file; the images themselves, if it holds them, are left to the workers."""
    import pyarrow.parquet
    import pyarrow.types

    try:
        file = pyarrow.parquet.ParquetFile(path)
    except (pyarrow.ArrowException, OSError) as exc:
        raise ValueError(f"Cannot read {path!r} as Parquet: {exc}. Write it anew, or give a CSV.") from exc
    with file:
        fields, rows = file.schema_arrow, file.metadata.num_rows
    names = [name for name in fields.names if not name.startswith("__index_level_")]
    source, kept = _columns(names, image, label)
    kind = fields.field(source).type
    is_path = pyarrow.types.is_string(kind) or pyarrow.types.is_large_string(kind)
    schema = pyarrow.schema([fields.field(name).with_name(new) for name, new in kept.items()])

    def batches(size: int) -> Iterator[tuple]:
        first = 0
        for table in _tables(path, size, [*kept, *([source] if is_path else [])]):
            images = Inside(path, source, first, len(table), urls)
            if is_path:
                images = placed(table[source].to_pylist(), os.path.dirname(path), urls, first)
            about = table.select(list(kept)).rename_columns(list(kept.values()))
            yield images, about.replace_schema_metadata()
            first += len(table)

    return Listing(path, schema, batches, rows)


def _tables(path: str, size: int, columns: list[str]) -> Iterator[pyarrow.Table]:
    """Yield tables of one size, whatever the row groups."""
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as file:
        if not columns:
            rows = file.metadata.num_rows
            yield from (bare(min(size, rows - start)) for start in range(0, rows, size))
            return
        held = file.schema_arrow.empty_table().select(columns)
        for batch in file.iter_batches(size, columns=columns):
            held = pyarrow.concat_tables([held, pyarrow.Table.from_batches([batch]).select(columns)])
            while len(held) >= size:
                yield held[:size]
                held = held[size:]
        if len(held):
            yield held


def list_csv(path: str, image: Column, label: Column, urls: bool) -> Listing:
    """List a CSV or TSV, whose cells are text and stay so."""
    header = next(_read(path), [])
    source, kept = _columns(header, image, label)
    order = [header.index(name) for name in (source, *kept)]
    folder = os.path.dirname(path)

    def rows() -> Iterator[tuple]:
        cells = _read(path)
        next(cells)
        for number, row in enumerate(cells):
            images = placed([row[order[0]]], folder, urls, number)
            yield images[0], *(row[i] for i in order[1:])

    return text_listing(path, list(kept.values()), rows)


def _read(path: str) -> Iterator[list[str]]:
    """Yield the header and each row of a CSV, as `read_csv` has them."""
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            separator = "\t" if path.lower().endswith(".tsv") else find_separator(file.readline())
            file.seek(0)
            reader = csv.reader(file, delimiter=separator, strict=True)
            width = None
            for row in filter(None, reader):
                width = width or len(row)
                if len(row) != width:
                    raise ValueError(
                        f"{len(row)} fields in line {reader.line_num}, but {width} in its header"
                    )
                yield [uncell(field) for field in row]
    except UnicodeDecodeError as exc:
        raise ValueError(f"Cannot read {path!r}: it is not UTF-8 ({exc.reason}). Save it as UTF-8.") from exc
    except (csv.Error, ValueError) as exc:
        raise ValueError(f"Cannot read {path!r}: {exc}. Expected a header, and quotes in pairs.") from exc


def _columns(columns: list, image: Column, label: Column) -> tuple[Hashable, dict]:
    """Return the column of images, and what each other one is called in the parts."""
    refuse_doubled(columns)
    source = find_column(columns, "image", image)
    labels = find_column(columns, "label", label, needed=())
    kept = {column: "label" if column == labels else str(column) for column in columns if column != source}
    names = list(kept.values())
    taken = [column for column, name in kept.items() if name in OWN or names.count(name) > 1]
    if taken:
        raise ValueError(
            f"Got columns called {named(taken)}, but parts have a {', a '.join(OWN)} and a label of their own. "
            "Rename them."
        )
    return source, kept
