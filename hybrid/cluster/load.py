"""A folder, a list, a prefix of an object store, a DataFrame or the word "sample" in; its listing out."""

from __future__ import annotations

import os
from collections.abc import Hashable
from typing import TYPE_CHECKING

from hybrid.cluster.folders import list_folder, list_pattern
from hybrid.cluster.listing import Listing
from hybrid.cluster.tables import list_csv, list_frame, list_parquet
from hybrid.datasets.load import allow
from hybrid.datasets.sample import load_sample
from hybrid.datasets.tables import SUFFIXES
from hybrid.images.source import URL, is_pattern

if TYPE_CHECKING:
    import pandas as pd

ACCEPTED = (
    f"a folder, a table ({', '.join(SUFFIXES)}), a prefix such as s3://bucket/photos, a DataFrame or 'sample'"
)


def read_listing(
    data: str | os.PathLike | pd.DataFrame,
    image: Hashable | None = None,
    label: Hashable | None = None,
    urls: bool = False,
) -> Listing:
    """Find out what kind of list it is, and which columns it has; none of its rows is read.

    What is an image, a label or a URL is decided as by `hybrid.datasets.load.load_images`, but for what a list of any
    length asks for: labels may be absent, all other columns are kept, and an image that is not there is found out
    by the worker that wants it.
    """
    if isinstance(data, str) and data == "sample":
        return list_frame(load_sample(), None, None, urls)
    if hasattr(data, "columns"):
        return list_frame(data, image, label, urls)
    if not isinstance(data, str | os.PathLike):
        raise TypeError(f"Got data of type {type(data).__name__}, but expected {ACCEPTED}.")
    path = os.fspath(data)
    if not URL.match(path):
        path = os.path.abspath(os.path.expanduser(path))
    if path.lower().endswith(SUFFIXES) and os.path.isfile(path):
        read = list_parquet if path.lower().endswith(".parquet") else list_csv
        return read(path, image, label, urls)
    given = {"image": image, "label": label}
    allow({name: value for name, value in given.items() if value is not None}, "a folder", ())
    if URL.match(path) or os.path.isdir(path):
        return list_folder(path.rstrip("/") or path)
    if is_pattern(path):
        return list_pattern(path)
    state = "is none of these" if os.path.exists(path) else "does not exist"
    raise ValueError(f"Expected {ACCEPTED}, but {path!r} {state}.")
