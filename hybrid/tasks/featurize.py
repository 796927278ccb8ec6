"""A table of images in, a file of their features out, in parts: the store keeps what an interrupted run had."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hybrid.featurizer import ResNetFeaturizer

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
        With the column image; what else it has goes into the file, too.
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
        raise ValueError(f"Got {str(path)!r}, but expected a name that ends in {' or '.join(WRITERS)}.")
    images = frame["image"].tolist()
    featurizer.fit(images)
    names = featurizer.get_feature_names_out()
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        WRITERS[path.suffix](parts(frame, images, featurizer, names, verbose), unfinished)
        os.replace(unfinished, path)
    finally:
        unfinished.unlink(missing_ok=True)
    return {"path": str(path), "rows": len(images), "features": len(names)}


def parts(
    frame: pd.DataFrame, images: list, featurizer: ResNetFeaturizer, names: np.ndarray, verbose: int
) -> Iterator[pd.DataFrame]:
    """Yield tables of some rows: what the data had, then the features."""
    import pandas as pd

    columns = [name for name in frame.columns if name != "image"]
    for start in range(0, len(images), ROWS):
        part = slice(start, start + ROWS)
        features = pd.DataFrame(featurizer.transform(images[part]), columns=names)
        shown = [image if isinstance(image, (str, os.PathLike)) else "" for image in images[part]]
        about = frame.iloc[part][columns].reset_index(drop=True)
        about.insert(0, "path", np.asarray(shown, object))
        yield pd.concat([about, features], axis=1)


def write_parquet(tables: Iterable[pd.DataFrame], path: Path):
    import pyarrow
    import pyarrow.parquet

    writer = None
    try:
        for table in tables:
            batch = pyarrow.Table.from_pandas(table, preserve_index=False)
            writer = writer or pyarrow.parquet.ParquetWriter(path, batch.schema)
            writer.write_table(batch)
    finally:
        if writer:
            writer.close()


def write_csv(tables: Iterable[pd.DataFrame], path: Path):
    with open(path, "w", encoding="utf-8", newline="") as file:
        for i, table in enumerate(tables):
            table.to_csv(file, index=False, header=i == 0)


WRITERS = {".parquet": write_parquet, ".csv": write_csv}
