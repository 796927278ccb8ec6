"""A folder, a prefix of an object store or a pattern in; its images, listed one folder at a time, out."""

from __future__ import annotations

import os
from collections.abc import Iterator

from hybrid.cluster.listing import Listing, text_listing
from hybrid.datasets.folder import class_folders, entries, has_suffix, list_images, walk, warn_of
from hybrid.spelling import spelt


def list_folder(root: str) -> Listing:
    """Walk a folder or a prefix; its sub-folders are classes, as for `load_folder`."""
    folders, files = entries(root)
    if files and not folders:
        return text_listing(root, (), lambda: ((image,) for image in _images(root, ())))
    classes, strays = class_folders(root, None)
    if strays:
        warn_of(strays, len(strays))
    names = ("label", "split") if classes[0][0] else ("label",)

    def rows() -> Iterator[tuple]:
        for split, inside, above in classes:
            known = spelt(os.path.basename(inside)), split
            for image in _images(inside, above):
                yield image, *known[: len(names)]

    return text_listing(root, names, rows)


def list_pattern(pattern: str) -> Listing:
    """List what a pattern matches, which has no labels."""
    images = list_images(pattern)
    return text_listing(pattern, (), lambda: ((image,) for image in images))


def _images(folder: str, above: tuple) -> Iterator[str]:
    """Yield the images below a folder, which must have some."""
    images = filter(has_suffix, walk(folder, above))
    first = next(images, None)
    if first is None:
        raise ValueError(f"Expected images in each folder, but found none in {folder!r}. Fill or remove it.")
    yield first
    yield from images
