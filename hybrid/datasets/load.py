"""A folder, a pattern, a table or the word "sample" in; a DataFrame of images, and their labels, out."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from hybrid.datasets.folder import load_folder
from hybrid.datasets.sample import load_sample
from hybrid.datasets.tables import SUFFIXES, load_table
from hybrid.images.source import is_pattern

if TYPE_CHECKING:
    import pandas as pd

ACCEPTED = (
    f"a folder with a sub-folder for each class, a table ({', '.join(SUFFIXES)}), a DataFrame, or 'sample'"
)
TABLE = ("image", "label", "group", "weight", "urls")


def load_images(
    data: str | os.PathLike | pd.DataFrame, *, empty: bool = False, **options: str | None
) -> pd.DataFrame:
    """Read images, and their labels, from whatever holds them.

    Parameters
    ----------
    data : path, DataFrame or "sample"
        A folder (see `load_folder`), a ``.csv``, ``.tsv`` or ``.parquet`` file or a DataFrame (see
        `load_table`), or the built-in images (see `load_sample`). A folder of that name is "./sample".
    empty : bool, default=False
        Whether a folder's classes may be without an image: see `load_folder`.
    **options
        `part` for a folder; `image`, `label`, `group`, `weight` and `urls` for a table. None is as good as absent.

    Returns
    -------
    DataFrame
        Columns image and label; group, weight and split where the data have them. A folder without sub-folders,
        and a pattern, have no labels.
    """
    options = {name: value for name, value in options.items() if value is not None}
    if isinstance(data, str) and data == "sample":
        allow(options, "the built-in sample", ())
        return load_sample()
    if hasattr(data, "columns"):
        allow(options, "a table", TABLE)
        return load_table(data, **options)
    if not isinstance(data, str | os.PathLike):
        raise TypeError(f"Got data of type {type(data).__name__}, but expected {ACCEPTED}.")
    path = os.path.expanduser(os.fspath(data))
    if os.path.isdir(path) or is_pattern(path):
        allow(options, "a folder", ("part",))
        return load_folder(path, **options, empty=empty)
    if not os.path.isfile(path) or not path.lower().endswith(SUFFIXES):
        state = "is none of these" if os.path.exists(path) else "does not exist"
        raise ValueError(f"Expected {ACCEPTED}, but {path!r} {state}.")
    allow(options, "a table", TABLE)
    return load_table(path, **options)


def allow(options: dict, kind: str, known: tuple[str, ...]) -> None:
    """Refuse an option that means nothing for this kind of data."""
    for name, value in options.items():
        if name not in known:
            expected = f"{kind} takes only {', '.join(known)}" if known else f"{kind} takes no options"
            raise ValueError(f"Got {name}={value!r}, but {expected}.")
