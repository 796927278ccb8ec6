"""A folder of featurized parts in; its rows in a local store out: what a cluster computed is not computed again.

Rows are known by the content of their images: nothing is believed of a path.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from hybrid.cluster.client import need
from hybrid.cluster.dataset import FOOTER, VERSION, read_manifest
from hybrid.store.feature_store import open_store

if TYPE_CHECKING:
    import pyarrow

BATCH = 1024
DIGEST = re.compile("[0-9a-f]{32}")
# The share of a store's limit that may be filled, for rows have keys and pages have margins.
SHARE = 0.9


def import_features(folder: str | os.PathLike, store: Any = "auto") -> dict:
    """Put the rows of a folder that `hybrid featurize` wrote into a store; those it has stay as they are.

    Parameters
    ----------
    folder : path
        With the parts, and their `_manifest.json`. To import it is to believe its maker that the features are
        those of the images.
    store : "auto", path or FeatureStore, default="auto"

    Returns
    -------
    summary : dict
        store, images, rows (that were new), and the recipe's backbone, engine and precision: a run that chooses
        others asks for other rows.
    """
    need("pyarrow")
    store, folder = open_store(store), Path(folder)
    said = read_manifest(str(folder))
    recipes = _recipes(said, folder)
    files = sorted(folder.glob("part-*.parquet"))
    images = sum(_rows(file, said, sum(recipes.values())) for file in files)
    needed = 4 * images * sum(recipes.values())
    if needed > SHARE * store.limit:
        raise ValueError(
            f"Got {needed / 1e9:.1f} GB of features, but the store takes {store.limit / 1e9:.1f} GB before it drops "
            f"the oldest. Raise HYBRID_STORE_LIMIT."
        )
    new = 0
    for file in files:
        for digests, matrix in _batches(file):
            new += _put(store, digests, matrix, recipes)
    about = {name: said["recipe"].get(name) for name in ("backbone", "engine", "precision")}
    return {"store": str(store.path), "images": images, "rows": new} | about


def _put(store: Any, digests: list[bytes], matrix: np.ndarray, recipes: dict[str, int]) -> int:
    """Store what is not there yet; return how many rows that was."""
    new = start = 0
    for text, width in recipes.items():
        lacking = np.flatnonzero(~store.get(text, digests, width, count=False)[1])
        rows = {text: matrix[lacking, start : start + width]}
        if len(lacking) and not store.put([digests[i] for i in lacking], rows):
            raise OSError(f"Feature store {str(store.path)!r} cannot be written.")
        new, start = new + len(lacking), start + width
    return new


def _recipes(said: object, folder: Path) -> dict[str, int]:
    """Return the recipe and the width of each part of the network, in the order of the columns."""
    if (
        not isinstance(said, dict)
        or said.get("format") != "hybrid features"
        or said.get("version") != VERSION
    ):
        raise ValueError(
            f"Got {str(folder)!r}, but expected a folder that `hybrid featurize -o` of this version wrote, with its "
            "_manifest.json."
        )
    try:
        recipes = {one["recipe"]: one["width"] for one in said["features"]}
        for text, width in recipes.items():
            recipe = json.loads(text)
            own = {name: recipe.pop(name) for name in ("layer", "pooling")}
            whole = json.dumps(said["recipe"] | own, sort_keys=True)
            if text != whole or recipe != said["recipe"] or type(width) is not int or width < 1:
                raise ValueError(f"the recipe {text!r:.200} of width {width!r}")
        if not recipes or len(recipes) < len(said["features"]):
            raise ValueError("no recipes, or one twice")
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise ValueError(f"The manifest of {str(folder)!r} is damaged: {exc}. Featurize again.") from exc
    return recipes


@contextmanager
def _opened(file: Path) -> Iterator[pyarrow.parquet.ParquetFile]:
    """Open a part; whatever is wrong with it is told with its name."""
    from pyarrow import ArrowException
    from pyarrow.parquet import ParquetFile

    try:
        with ParquetFile(file) as part:
            yield part
    except (ArrowException, OSError, ValueError, TypeError, AttributeError) as exc:
        raise ValueError(f"Cannot import {str(file)!r}: {exc}. Remove it, and featurize again.") from exc


def _rows(file: Path, said: dict, width: int) -> int:
    """Return how many rows a part has; refuse one that is no part of this folder."""
    from pyarrow import float32, string
    from pyarrow import list_ as lists

    with _opened(file) as part:
        schema = part.schema_arrow
        own = json.loads((schema.metadata or {}).get(FOOTER, b"{}")).get("identity")
        kinds = {name: schema.field(name).type for name in ("digest", "features") if name in schema.names}
        if own != said.get("identity") or kinds != {"digest": string(), "features": lists(float32(), width)}:
            raise ValueError(f"it is no part of this folder, or its columns are not {width} float32 a row")
        return part.metadata.num_rows


def _batches(file: Path) -> Iterator[tuple[list[bytes], np.ndarray]]:
    """Yield digests and features, some rows at a time; raise where one cannot be what was computed."""
    with _opened(file) as part:
        for batch in part.iter_batches(BATCH, columns=["digest", "features"]):
            texts, features = batch.column(0).to_pylist(), batch.column(1)
            if not all(isinstance(text, str) and DIGEST.fullmatch(text) for text in texts):
                raise ValueError("a digest is not 32 hexadecimal digits")
            matrix = features.flatten().to_numpy().reshape(-1, features.type.list_size)
            if len(matrix) < len(texts) or not np.isfinite(matrix).all():
                raise ValueError("a feature is no finite number")
            yield [bytes.fromhex(text) for text in texts], matrix
