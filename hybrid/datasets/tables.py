"""A CSV, TSV or Parquet file or a DataFrame in; a DataFrame of images and labels out, every bad row named."""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid.images.source import URL, is_wrapped
from hybrid.spelling import meant, uncell

if TYPE_CHECKING:
    import pandas as pd

SUFFIXES = (".csv", ".tsv", ".parquet")
SEPARATORS = ",;\t|"
SPLITS = {"train": "train", "val": "val", "valid": "val", "validation": "val", "test": "test"}
GUESSES = {
    "image": ("image", "path", "file", "filename", "filepath"),
    "label": ("label", "class", "target", "y"),
    "group": ("group",),
    "weight": ("weight",),
    "split": ("split",),
}


def load_table(
    path_or_frame: str | os.PathLike | pd.DataFrame,
    image: Hashable | None = None,
    label: Hashable | None = None,
    group: Hashable | None = None,
    weight: Hashable | None = None,
    urls: bool = False,
) -> pd.DataFrame:
    """Read the images and labels of a table.

    What a CSV holds is text and stays so, letter by letter: a class may be called "NA" or "001". Only an
    apostrophe that keeps spreadsheets from running a cell (``'=``, ``'+``, ``'-``, ``'@``) is taken away. Its
    separator is a comma, a semicolon, a tab or a bar, whichever divides the header most.

    Parameters
    ----------
    path_or_frame : path or DataFrame
        A ``.csv``, ``.tsv`` or ``.parquet`` file, whose image paths are relative to its own folder, or a
        DataFrame, which may hold the images themselves.
    image, label : column name, default=None
        By default the one column called image, path, file, filename or filepath, and the one called label,
        class, target or y.
    group, weight : column name, default=None
        By default the column called so, if there is one. Images of one group belong together (a patient's,
        say); weights are finite and not negative.
    urls : bool, default=False
        Whether images may be URLs, which are fetched later: whoever wrote the table chooses what this
        machine asks for.

    Returns
    -------
    DataFrame
        Columns image and label, then group, weight and split (train, val, test) where the table has them.
    """
    import pandas as pd

    frame, folder = path_or_frame, ""
    if not isinstance(frame, str | os.PathLike | pd.DataFrame):
        raise TypeError(f"Got {type(frame)}, but expected a path or a pandas DataFrame.")
    if not isinstance(frame, pd.DataFrame):
        path = os.path.expanduser(os.fspath(path_or_frame))
        folder = os.path.dirname(path)
        frame = read_parquet(path) if path.lower().endswith(".parquet") else read_csv(path)
    columns = list(frame.columns)
    refuse_doubled(columns)
    chosen = {"image": image, "label": label, "group": group, "weight": weight, "split": None}
    sources = {name: find_column(columns, name, given) for name, given in chosen.items()}
    if not len(frame):
        raise ValueError("Got a table without rows, but expected at least one image.")
    result = pd.DataFrame({name: frame[column] for name, column in sources.items() if column is not None})
    for name in result:
        refuse(
            f"Expected a value in column {sources[name]!r}, but found none",
            result[name],
            missing(result[name]),
        )
    if "weight" in result:
        result["weight"] = _read_weights(result["weight"])
    if "split" in result:
        splits = result["split"].astype(str).str.strip().str.lower().map(SPLITS)
        refuse(
            f"Expected one of the splits {', '.join(SPLITS)}, but found others",
            result["split"],
            splits.isna(),
        )
        result["split"] = splits.astype(object)
    result["image"] = _place_images(result["image"], folder, urls)
    return result.reset_index(drop=True)


def read_parquet(path: str) -> pd.DataFrame:
    import pandas as pd

    try:
        return pd.read_parquet(path)
    except ImportError as exc:
        raise ValueError(f"Reading {path!r} needs pyarrow: pip install pyarrow") from exc
    except (ValueError, OSError) as exc:
        raise ValueError(f"Cannot read {path!r} as Parquet: {exc}. Write it anew, or give a CSV.") from exc


def read_csv(path: str) -> pd.DataFrame:
    """Read text as it stands, its rows numbered as in a spreadsheet: the header is row 1.

    pandas would rename a second column of one name, and shift rows that are too long.
    """
    import pandas as pd

    try:
        if os.path.exists(path) and not os.path.isfile(path):
            raise ValueError("it is no regular file")
        text = Path(path).read_bytes().decode("utf-8-sig")
        separator = "\t" if path.lower().endswith(".tsv") else find_separator(text)
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        header, *rows = ([uncell(field) for field in row] for row in reader)
    except UnicodeDecodeError as exc:
        raise ValueError(
            f"Cannot read {path!r}: byte {exc.start} is not UTF-8. Save the file as UTF-8."
        ) from exc
    except OSError as exc:
        raise ValueError(f"Cannot read {path!r}: {exc.strerror}. Give a CSV that can be read.") from exc
    except (csv.Error, ValueError) as exc:
        raise ValueError(f"Cannot read {path!r}: {exc}. Expected a header, and quotes in pairs.") from exc
    numbered = {number: row for number, row in enumerate(rows, 2) if row}
    uneven = [number for number, row in numbered.items() if len(row) != len(header)]
    if uneven:
        raise ValueError(
            f"Expected {len(header)} fields in each row of {path!r}, as in its header, but others in row "
            f"{named(uneven)}. Put quotes around a field that holds {separator!r}."
        )
    return pd.DataFrame(list(numbered.values()), index=list(numbered), columns=header, dtype=object)


def refuse_doubled(columns: list) -> None:
    doubled = [column for column, count in Counter(columns).items() if count > 1]
    if doubled:
        raise ValueError(
            f"Got several columns called {named(doubled)}, but expected one of each name. Rename them."
        )


def find_separator(text: str) -> str:
    """Return the separator that divides the header most."""

    def fields(separator: str) -> int:
        return len(next(csv.reader(io.StringIO(text, newline=""), delimiter=separator), []))

    return max(SEPARATORS, key=fields)


def find_column(
    columns: list, name: str, given: Hashable | None, needed: tuple[str, ...] = ("image", "label")
) -> Hashable | None:
    """Return the column given for `name`, or the one called so, or None where there need not be one."""
    if given is not None:
        if given not in columns:
            raise ValueError(
                f"Got {name}={given!r}, but expected one of the table's columns: {named(columns)}."
            )
        return given
    found = [column for column in columns if str(column).strip().lower() in GUESSES[name]]
    if len(found) > 1 or (not found and name in needed):
        raise ValueError(
            f"Expected one column called {' or '.join(GUESSES[name])}, but found {named(found) or 'none'} "
            f"among {named(columns)}. Name it: {name}=..."
        )
    return found[0] if found else None


def missing(values: pd.Series) -> pd.Series:
    return values.isna() | values.map(lambda value: isinstance(value, str) and not value.strip()).astype(bool)


def _read_weights(values: pd.Series) -> pd.Series:
    import pandas as pd

    weights = pd.to_numeric(values, errors="coerce").astype(float)
    fine = weights.between(0, float("inf"), inclusive="left")
    refuse("Expected finite weights that are not negative, but found others", values, ~fine)
    return weights


def _place_images(values: pd.Series, folder: str, urls: bool) -> pd.Series:
    """Return images with their paths joined to `folder`; files that are not there are named, and URLs unasked for."""
    import pandas as pd

    values = values.map(unwrapped)
    paths = [isinstance(value, str | os.PathLike) for value in values]
    remote = [path and bool(URL.match(os.fspath(value))) for value, path in zip(values, paths, strict=True)]
    if not urls:
        problem = "Expected files, but found URLs, which are fetched only with urls=True, or --urls"
        refuse(problem, values, pd.Series(remote, index=values.index))
    local = [path and not url for path, url in zip(paths, remote, strict=True)]
    images = [locate(folder, value) if path else value for value, path in zip(values, local, strict=True)]
    gone = [path and not os.path.isfile(image) for image, path in zip(images, local, strict=True)]
    start = os.path.abspath(folder)
    problem = f"Cannot find {sum(gone)} of {len(gone)} images, whose relative paths start at {start!r}"
    refuse(problem, values, pd.Series(gone, index=values.index))
    return pd.Series(images, index=values.index, dtype=object)


def unwrapped(value: object) -> object:
    """Return the path of an image that Hugging Face's datasets name but do not hold; else the value."""
    return value.get("path") if is_wrapped(value) and value["bytes"] is None else value


def locate(folder: str, path: str | os.PathLike) -> str:
    """Return where a table's file lies; its name may be spelt as we write one that is not UTF-8."""
    place = os.path.join(folder, path)
    if not os.path.isfile(place):
        other = os.path.join(folder, meant(os.fspath(path)))
        place = other if os.path.isfile(other) else place
    return place


def refuse(problem: str, values: pd.Series, bad: pd.Series) -> None:
    """Raise one error that names the rows at fault, if there are any."""
    if bad.any():
        rows = [f"row {row} ({value!r})" for row, value in values[bad].head(20).items()]
        more = f" and {bad.sum() - 20} more" if bad.sum() > 20 else ""
        raise ValueError(f"{problem}: {', '.join(rows)}{more}. Correct or remove these rows.")


def named(values: Iterable, limit: int = 20) -> str:
    """List the first values and count the others."""
    values = list(values)
    more = f" and {len(values) - limit} more" if len(values) > limit else ""
    return ", ".join(map(repr, values[:limit])) + more
