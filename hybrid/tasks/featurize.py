"""A table of images in, a file of their features out, in parts: the store keeps what an interrupted run had."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TextIO

import numpy as np

from hybrid.archive.place import check, whole
from hybrid.featurizer import ResNetFeaturizer
from hybrid.spelling import cell, spelt

if TYPE_CHECKING:
    import pandas as pd

ROWS = 1024


def write_features(
    frame: pd.DataFrame, path: str | os.PathLike, featurizer: ResNetFeaturizer, verbose: int = 0
) -> dict:
    """Write the features of a table's images into a Parquet or CSV file.

    Parameters
    ----------
    frame : DataFrame
        With the column image; what else it has goes into the file, too. In a CSV, text that a spreadsheet
        would run (``=cmd()``) gets an apostrophe in front, and a path's bytes that are not UTF-8 are spelt
        as ``\\xe9``; `hybrid.datasets.tables.load_table` reads both back.
    path : path
        Ends in ".parquet" or ".csv". It appears when it is whole.
    featurizer : ResNetFeaturizer
    verbose : int, default=0
        1 shows a progress bar.

    Returns
    -------
    summary : dict
        path, rows and features.
    """
    path = Path(path)
    if path.suffix not in WRITERS:
        raise ValueError(
            f"Got {str(path)!r}, but expected a name that ends in {' or '.join(WRITERS)}, or, for a folder of parts, "
            "in '/'."
        )
    check(path)
    images = frame["image"].tolist()
    featurizer.fit(images)
    names = featurizer.get_feature_names_out()
    write, encoding = WRITERS[path.suffix]
    with whole(path, encoding) as file:
        write(parts(frame, images, featurizer, names, verbose), file)
    return {"path": str(path), "rows": len(images), "features": len(names)}


def is_folder(out: str) -> bool:
    """Whether parts are to go into a folder of that name."""
    return out.endswith(("/", os.sep)) or os.path.isdir(out)


def parts(
    frame: pd.DataFrame, images: list, featurizer: ResNetFeaturizer, names: np.ndarray, verbose: int
) -> Iterator[pd.DataFrame]:
    """Yield tables of some rows: what the data had, then the features."""
    import pandas as pd

    columns = [name for name in frame.columns if name != "image"]
    for start in range(0, len(images), ROWS):
        part = slice(start, start + ROWS)
        features = pd.DataFrame(featurizer.transform(images[part]), columns=names)
        shown = [
            spelt(os.fsdecode(one)) if isinstance(one, (str, os.PathLike)) else "" for one in images[part]
        ]
        about = frame.iloc[part][columns].reset_index(drop=True)
        about.insert(0, "path", np.asarray(shown, object))
        yield pd.concat([about, features], axis=1)


def _write_parquet(tables: Iterable[pd.DataFrame], file: BinaryIO):
    import pyarrow
    import pyarrow.parquet

    writer = None
    try:
        for table in tables:
            batch = pyarrow.Table.from_pandas(table, preserve_index=False)
            writer = writer or pyarrow.parquet.ParquetWriter(file, batch.schema)
            writer.write_table(batch)
    finally:
        if writer:
            writer.close()


def write_csv(tables: Iterable[pd.DataFrame], file: TextIO):
    for i, table in enumerate(tables):
        texts = table.select_dtypes(exclude="number").columns
        table[texts] = table[texts].map(cell)
        table.to_csv(
            file, index=False, header=[cell(str(name)) for name in table.columns] if i == 0 else False
        )


WRITERS = {".parquet": (_write_parquet, None), ".csv": (write_csv, "utf-8")}
