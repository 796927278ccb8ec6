"""A folder, or a pattern, in; a DataFrame with the columns image and, of classes' folders, label out.

What is wrong with the data is named here, all of it at once, before any image is read.
"""

from __future__ import annotations

import glob
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from hybrid.datasets.tables import SPLITS, named
from hybrid.images import urls
from hybrid.images.source import URL, is_pattern
from hybrid.spelling import spelt

if TYPE_CHECKING:
    import pandas as pd

IMAGE_SUFFIXES = (
    ".apng", ".avif", ".bmp", ".gif", ".jfif", ".jpe", ".jpeg", ".jpg", ".mpo",
    ".pbm", ".pgm", ".png", ".pnm", ".ppm", ".tif", ".tiff", ".webp",
)  # fmt: skip
SYSTEM_FILES = ("__macosx", "desktop.ini", "thumbs.db")


def load_folder(
    path: str | os.PathLike, part: str | None = None, labels: bool | None = None, empty: bool = False
) -> pd.DataFrame:
    """List the images of a folder, which may have a sub-folder for each class.

    Images may lie deeper inside a class's folder. Where all sub-folders are called train, val (valid,
    validation) or test, the classes lie one level below, and a column `split` says where an image comes from.
    Hidden files and what operating systems leave behind are passed over; other files that are not images,
    with a warning.

    Parameters
    ----------
    path : path
        The folder, or a pattern such as ``"photos/**/*.jpg"``, whose images have no labels.
    part : "train", "val" or "test", default=None
        Read this split only.
    labels : bool, default=None
        False lists all images below the folder and leaves labels out; True insists on a sub-folder for
        each class. By default, a folder without sub-folders has no labels.
    empty : bool, default=False
        True passes over class folders without an image, and lists them under "empty" of the DataFrame's `attrs`;
        otherwise, they are an error.

    Returns
    -------
    DataFrame
        Columns image (a path that begins as `path` does), label (the name of the class's folder, as it is,
        bytes that are not UTF-8 as ``\\xe9``) and, where there are splits, split; sorted by name.
    """
    import pandas as pd

    root = os.path.expanduser(os.fspath(path))
    pattern = is_pattern(root)
    if not pattern and not os.path.isdir(root):
        state = "is a file" if os.path.exists(root) else "does not exist"
        raise ValueError(f"Expected a folder with a sub-folder for each class, but {root!r} {state}.")
    if labels is None:
        labels = not pattern and (part is not None or bool(entries(root)[0]) or not entries(root)[1])
    if not labels:
        return pd.DataFrame({"image": list_images(root)}, dtype=object)
    return labelled(root, part, empty)


def list_images(root: str) -> list[str]:
    """Return every image below a folder, or every one that a pattern matches, sorted by name."""
    if is_pattern(root):
        files = sorted(file for file in glob.iglob(root, recursive=True) if os.path.isfile(file))
    else:
        files = list(walk(root, ()))
    images = [file for file in files if has_suffix(file)]
    warn_of([file for file in files if not has_suffix(file)], len(files))
    if not images:
        raise ValueError(
            f"Expected images, but found none in {root!r}. Images end in {' '.join(IMAGE_SUFFIXES)}"
        )
    return images


def has_suffix(file: str) -> bool:
    return file.lower().endswith(IMAGE_SUFFIXES)


def labelled(root: str, part: str | None, allowed: bool) -> pd.DataFrame:
    """List the images of a folder that has a sub-folder for each class, of which some are allowed to be empty."""
    import pandas as pd

    classes, strays = class_folders(root, part)
    rows, empty = [], []
    for split, inside, above in classes:
        files = list(walk(inside, above))
        images = [file for file in files if has_suffix(file)]
        rows += [(image, spelt(os.path.basename(inside)), split) for image in images]
        strays += [file for file in files if not has_suffix(file)]
        empty += [] if images else [inside]
    warn_of(strays, len(strays) + len(rows))
    if empty and not (allowed and rows):
        raise ValueError(
            f"Expected images of each class, but found none in {named(empty)}. Fill or remove them."
        )
    frame = pd.DataFrame(rows, columns=["image", "label", "split"], dtype=object)
    frame.attrs = {"empty": empty} if empty else {}
    return frame if classes[0][0] else frame.drop(columns="split")


def class_folders(root: str, part: str | None) -> tuple[list[tuple[str | None, str, tuple]], list[str]]:
    """Return the split of each class, its folder and what lies above that; and the files that are in none."""
    folders, strays = entries(root)
    found = []
    for split, folder in _find_parts(root, folders, part):
        classes, loose = entries(folder)
        if not classes:
            raise ValueError(
                f"Expected a sub-folder for each class, but {folder!r} has none (and {len(loose)} files). "
                "Move each image into a folder named by its label, or give a CSV of images and labels."
            )
        strays += loose if split else []
        above = (Path(root).resolve(), Path(folder).resolve())
        found += [(split, inside, above) for inside in classes]
    return found, strays


def warn_of(strays: list[str], files: int):
    """Warn of files that are passed over, if there are any."""
    if strays:
        warnings.warn(
            f"Passed over {len(strays)} of {files} files (in no class's folder, or not images by their "
            f"suffix): {named(strays, 5)}. Images end in {' '.join(IMAGE_SUFFIXES)}",
            stacklevel=4,
        )


def entries(folder: str) -> tuple[list[str], list[str]]:
    """Return the paths of a folder's visible sub-folders and of its visible files, sorted; of a prefix, the URLs."""
    try:
        found = sorted(urls.entries(folder) if URL.match(folder) else _scan(folder))
    except OSError as exc:
        raise ValueError(
            f"Cannot list {folder!r}: {exc.strerror or exc}. Make it readable, or move it away."
        ) from exc
    folders, files = [], []
    for path, is_folder in found:
        name = os.path.basename(path)
        if not name.startswith(".") and name.lower() not in SYSTEM_FILES:
            (folders if is_folder else files).append(path)
    return folders, files


def _scan(folder: str) -> Iterator[tuple[str, bool]]:
    """Yield what lies in a folder, and whether it is one itself; only a link costs a look at it."""
    with os.scandir(folder) as found:
        for entry in found:
            yield entry.path, os.path.isdir(entry.path) if entry.is_symlink() else entry.is_dir()


def walk(folder: str, above: tuple[Path, ...]) -> Iterator[str]:
    """Yield every visible file below a folder, whose ancestors are `above`."""
    real = Path(folder).resolve()
    if any(ancestor.is_relative_to(real) for ancestor in above):
        raise ValueError(
            f"Expected folders that end, but {folder!r} leads back up to {str(real)!r}. Remove the link."
        )
    folders, files = entries(folder)
    yield from files
    for inside in folders:
        yield from walk(inside, (*above, real))


def _find_parts(root: str, folders: list[str], part: str | None) -> list[tuple[str | None, str]]:
    """Return the splits with their folders, or (None, root) where the classes lie in the root itself."""
    splits = [(SPLITS.get(os.path.basename(folder).lower()), folder) for folder in folders]
    found = [(split, folder) for split, folder in splits if split]
    if part is not None:
        wanted = [(split, folder) for split, folder in found if split == SPLITS.get(part)]
        if not wanted:
            has = named(os.path.basename(folder) for folder in folders) or "no folders"
            raise ValueError(
                f"Got part={part!r}, but expected train, val or test, of which {root!r} has {has}."
            )
        return wanted
    if found and len(found) == len(folders):
        return found
    nested = [folder for _, folder in found if entries(folder)[0]]
    if nested:
        raise ValueError(
            f"Cannot tell splits from classes: {root!r} has {named(map(os.path.basename, folders))}. Pass "
            "part='train', or move what is no split away; rename it if 'train' is a class."
        )
    return [(None, root)]
