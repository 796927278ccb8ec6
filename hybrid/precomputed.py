"""Paths of images, or row numbers, in; their rows in a table of features that was written before out."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from hybrid.spelling import spelt

if TYPE_CHECKING:
    import pyarrow

# Threads that ask for one table read it once.
_reading = Lock()
WAY_OUT = "Write one by `hybrid featurize`."


class PrecomputedFeatures(TransformerMixin, BaseEstimator):
    """Features that `hybrid featurize` wrote: the first step of a pipeline that runs no network.

    The table is no part of the estimator: each process reads it once and holds it, 4 bytes a number.

    Parameters
    ----------
    table : path
        A Parquet file, or a folder of them. It has a column `path`, and features in one column of lists of a fixed
        number of float32, or in columns of float32.

    Attributes
    ----------
    n_features_out_ : int
        Number of features.

    Notes
    -----
    A model for new images is the same pipeline behind a network::

        Pipeline([("featurizer", ResNetFeaturizer(...).fit(images)), *pipeline.steps[1:]])
    """

    def __init__(self, table):
        self.table = table

    def fit(self, X, y=None):
        """Look the table up.

        Parameters
        ----------
        X : array-like of paths or of row numbers
        y : ignored

        Returns
        -------
        self
        """
        self.n_features_out_ = len(_read(self.table).names)
        return self

    def transform(self, X):
        """Return the rows of images.

        Parameters
        ----------
        X : array-like of paths or of row numbers
            Paths as the table has them, or as they are from here; numbers count its rows from 0, in the order of
            its files' names.

        Returns
        -------
        features : ndarray of shape (n_images, n_features_out_), float32
        """
        check_is_fitted(self)
        found = _read(self.table)
        return found.rows[found.places(X)]

    def get_feature_names_out(self, input_features=None):
        """Return the names of the table's columns.

        Parameters
        ----------
        input_features : ignored

        Returns
        -------
        names : ndarray of str objects
        """
        check_is_fitted(self)
        return np.asarray(_read(self.table).names, dtype=object)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True
        tags.transformer_tags.preserves_dtype = []
        return tags


@dataclass(frozen=True, eq=False)
class _Table:
    """Rows of features, what they are called, and where each path is."""

    name: str
    names: list[str]
    rows: np.ndarray
    by_path: dict[str, int]

    def places(self, X: object) -> np.ndarray:
        """Return the row numbers of paths, or of row numbers themselves."""
        given = np.asarray(X)
        given = given[:, 0] if given.ndim == 2 and given.shape[1] == 1 else given
        if given.ndim != 1 or given.dtype.kind not in "iuOUT":
            got = f"Got X of shape {given.shape} and dtype {given.dtype}"
            raise TypeError(f"{got}, but expected paths, or numbers of rows in {self.name!r}.")
        if given.dtype.kind in "iu":
            return self.numbered(given)
        return np.fromiter(map(self.place, given.tolist(), range(len(given))), int, len(given))

    def numbered(self, given: np.ndarray) -> np.ndarray:
        """Refuse numbers that no row has."""
        wrong = np.flatnonzero((given < 0) | (given >= len(self.rows)))
        if len(wrong):
            got = f"Got {given[wrong[0]]} (item {wrong[0]})"
            raise ValueError(f"{got}, but expected 0 to {len(self.rows) - 1}: rows of {self.name!r}.")
        return given

    def place(self, item: object, i: int) -> int:
        """Return the row of one path."""
        if not isinstance(item, str | os.PathLike):
            raise TypeError(f"Got a {type(item).__name__} (item {i}), but expected a path in {self.name!r}.")
        path = os.fsdecode(item)
        for known in (path, os.path.abspath(path)):
            if spelt(known) in self.by_path:
                return self.by_path[spelt(known)]
        like = f" Paths are like {next(iter(self.by_path))!r} there." if self.by_path else ""
        raise ValueError(f"Got {path!r} (item {i}), which has no row in {self.name!r}.{like}")


def _read(table: str | os.PathLike) -> _Table:
    """Return a table, which a process reads once as long as its files stay the same."""
    path = Path(table)
    files = _parts_of(path)
    stamps = tuple((str(file), file.stat().st_size, file.stat().st_mtime_ns) for file in files)
    with _reading:
        return _open(str(path), stamps)


def _parts_of(path: Path) -> list[Path]:
    """Return a Parquet file, or those of a folder, by name; what begins with an underscore is about them."""
    inside = sorted(path.glob("*.parquet")) if path.is_dir() else [path] if path.is_file() else []
    files = [file for file in inside if not file.name.startswith(("_", "."))]
    if not files:
        raise ValueError(f"Got {str(path)!r}, but expected a Parquet file, or a folder of some. {WAY_OUT}")
    return files


@lru_cache(maxsize=2)
def _open(name: str, stamps: tuple[tuple[str, int, int], ...]) -> _Table:
    try:
        from pyarrow.parquet import ParquetFile
    except ImportError as exc:
        raise ImportError("Features in Parquet need pyarrow: pip install pyarrow") from exc
    names, blocks, by_path, count = None, [], {}, 0
    for file, *_ in stamps:
        try:
            with ParquetFile(file) as opened:
                read = opened.read()
        except (OSError, ValueError) as exc:
            raise ValueError(f"Cannot read {file!r}: {exc}. Remove it, and featurize again.") from exc
        own, matrix = _features(read)
        if "path" not in read.column_names or not own or (names or own) != own:
            raise ValueError(
                f"Got {file!r} with the columns {read.column_names!r:.200}, but expected `path` and float32 "
                f"columns, the same in all files. {WAY_OUT}"
            )
        names = own
        blocks.append(matrix)
        for i, path in enumerate(read.column("path").to_pylist(), count):
            by_path.setdefault(path, i)
        count += len(read)
    return _Table(name, names, np.concatenate(blocks), by_path)


def _features(table: pyarrow.Table) -> tuple[list[str], np.ndarray]:
    """Return the names and the matrix of the lists of float32 in a table, or of its columns of them."""
    from pyarrow import types
    from pyarrow.compute import list_flatten

    kinds = dict(zip(table.column_names, table.schema.types, strict=True))
    for name, kind in kinds.items():
        if types.is_fixed_size_list(kind) and types.is_float32(kind.value_type):
            rows = np.full((len(table), kind.list_size), np.nan, np.float32)
            values = list_flatten(table[name]).to_numpy()
            rows[table[name].is_valid().to_numpy()] = values.reshape(-1, kind.list_size)
            return [f"{name}_{i}" for i in range(kind.list_size)], rows
    names = [name for name, kind in kinds.items() if types.is_float32(kind)]
    return names, np.column_stack([table[name].to_numpy() for name in names] or [np.empty(0)])
