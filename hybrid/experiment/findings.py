"""What a check found: one record, the lines that are printed of it, and the clean list that is written."""

from __future__ import annotations

import csv
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from hybrid.archive.place import whole
from hybrid.datasets.labelled import Labelled
from hybrid.experiment.outcome import jsonable
from hybrid.images.items import name
from hybrid.images.source import URL
from hybrid.spelling import cell

LISTED, GROUP = 5, 3
# Images a class; fewer are told.
FEW = 10


@dataclass(frozen=True, eq=False)
class Findings:
    """What is wrong with labelled images; rows are numbered from 0."""

    data: Labelled = field(repr=False)
    classes: dict  # label -> images that can be read
    unreadable: tuple[tuple[int, object, str], ...]  # row, image, reason
    exact: tuple[np.ndarray, ...]  # rows of the same content
    near: tuple[np.ndarray, ...]  # rows of near duplicates
    empty: tuple[str, ...]  # class folders without an image
    few: dict  # label -> images, of the classes that have fewer than `FEW`
    sizes: tuple[tuple[int, int, int, str], ...]  # row, width, height, what is odd
    doubtful: tuple[tuple[int, object, float], ...]  # row, likelier label, its probability
    passes: int  # images that went through the network

    @property
    def across(self) -> tuple[np.ndarray, ...]:
        """Groups of exact or near duplicates that have several labels."""
        return tuple(rows for rows in (*self.exact, *self.near) if len(np.unique(self.data.y[rows])) > 1)

    @property
    def ok(self) -> bool:
        """Whether nothing was found."""
        found = self.unreadable, self.exact, self.near, self.empty, self.few, self.sizes, self.doubtful
        return not any(found)

    def lines(self) -> list[str]:
        """Return what was found, a line each; of much, the first few and a count."""
        n, y = len(self.data), self.data.y
        found = [
            (self.unreadable, "image{s} of {n} cannot be read", self.show_unreadable),
            (self.exact, "group{s} of identical images", self.show_group),
            (self.near, "group{s} of near duplicates", self.show_group),
            (self.across, "of them {have} several labels", self.show_labels),
            (self.empty, "class folder{s} {have} no image", name),
            (
                list(self.few.items()),
                f"class{{es}} {{have}} fewer than {FEW} images",
                "{0[0]!r} {0[1]}".format,
            ),
            (self.sizes, "image{s} {have} an unusual size", self.show_size),
            (self.doubtful, "label{s} may be mixed up", self.show_doubt),
        ]
        singular, plural = {"s": "", "es": "", "have": "has"}, {"s": "s", "es": "es", "have": "have"}
        lines = []
        for items, text, show in found:
            if len(items) == 1:
                lines.append(f"1 {text.format(n=n, **singular)}: {show(items[0])}.")
            elif items:
                lines.append(f"{len(items)} {text.format(n=n, **plural)}:")
                lines += [f"  {show(item)}" for item in items[:LISTED]]
                lines += [f"  and {len(items) - LISTED} more"] * (len(items) > LISTED)
        return lines or [f"Found nothing wrong with {n} images of {len(np.unique(y))} classes."]

    def show_row(self, row: int) -> str:
        item = self.data.images[row]
        return name(item) if isinstance(item, str | os.PathLike) else f"row {row}"

    def show_unreadable(self, failure: tuple[int, object, str]) -> str:
        row, _, reason = failure
        return f"{self.show_row(row)} ({reason})"

    def show_group(self, rows: np.ndarray) -> str:
        return some([self.show_row(row) for row in rows.tolist()], " = ")

    def show_labels(self, rows: np.ndarray) -> str:
        return some(
            [f"{self.show_row(row)} is {self.data.y[row].item()!r}" for row in rows.tolist()], " and "
        )

    def show_size(self, finding: tuple[int, int, int, str]) -> str:
        row, width, height, what = finding
        return f"{self.show_row(row)} {width} x {height} ({what})"

    def show_doubt(self, finding: tuple[int, object, float]) -> str:
        row, other, probability = finding
        label = self.data.y[row].item()
        return f"{self.show_row(row)} is {label!r}, looks like {other!r} ({probability:.2f})"

    def to_json(self) -> dict[str, Any]:
        """Return what `hybrid check --json` prints."""
        y, few, sizes = self.data.y, self.few, ("row", "width", "height", "what")
        doubts = [(row, self.show_row(row), y[row], *rest) for row, *rest in self.doubtful]
        columns = "row", "image", "label", "looks_like", "probability"
        groups = {"identical": self.exact, "near_duplicates": self.near, "across_labels": self.across}
        return jsonable(
            {"ok": self.ok, "images": len(self.data), "classes": self.classes}
            | {"unreadable": [{"row": r, "image": name(i), "reason": why} for r, i, why in self.unreadable]}
            | {key: [rows.tolist() for rows in found] for key, found in groups.items()}
            | {
                "empty": self.empty,
                "few": few,
                "sizes": [dict(zip(sizes, one, strict=True)) for one in self.sizes],
            }
            | {"doubtful": [dict(zip(columns, one, strict=True)) for one in doubts]}
        )

    def removed(self) -> dict[int, str]:
        """Return the rows that a clean list leaves out, and why; doubts are left to you."""
        gone = {row: "cannot be read" for row, _, _ in self.unreadable}
        for rows in self.exact:
            if len(np.unique(self.data.y[rows])) > 1:
                gone |= dict.fromkeys(rows.tolist(), "the same image has several labels")
            else:
                gone |= dict.fromkeys(rows[1:].tolist(), "the same image is listed before")
        return gone

    def fix(self, path: str | os.PathLike) -> dict[int, str]:
        """Write a clean list, which `hybrid.datasets.tables.load_table` reads; images are left as they are.

        Parameters
        ----------
        path : path
            A new ``.csv`` file.

        Returns
        -------
        dict of int to str
            The rows that were left out, and why: unreadable images, copies of an image listed before, and
            images listed with several labels. What else was found is for you to judge, and stays.
        """
        path, gone = Path(path).expanduser(), self.removed()
        kept = [row for row in range(len(self.data)) if row not in gone]
        strange = [row for row in kept if not isinstance(self.data.images[row], str | os.PathLike)]
        if strange:
            got = f"Got {name(self.data.images[strange[0]])} in row {strange[0]}"
            raise ValueError(f"{got}, but a list can hold paths only. Save the images first.")
        if not kept:
            raise ValueError("Nothing is left for a clean list: no image can be read.")
        if path.suffix.lower() != ".csv" or path.exists():
            raise ValueError(f"Got {str(path)!r}, but expected a new file that ends in .csv.")
        data = self.data
        columns = {"label": data.y, "group": data.groups, "weight": data.weights, "split": data.split}
        columns = {key: column for key, column in columns.items() if column is not None}
        with whole(path, "utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["image", *columns])
            for row in kept:
                image = listed(os.fspath(self.data.images[row]), path.parent.resolve())
                writer.writerow(map(cell, [image, *(column[row] for column in columns.values())]))
        return gone


def listed(image: str, folder: Path) -> str:
    """Return a path from the list's folder where the image lies below it, or else in full."""
    if URL.match(image):
        return image
    full = Path(os.path.abspath(image))
    return str(full.relative_to(folder)) if full.is_relative_to(folder) else str(full)


def some(shown: list[str], joint: str) -> str:
    """Join the first few and count the others."""
    more = f" and {len(shown) - GROUP} more" if len(shown) > GROUP else ""
    return joint.join(shown[:GROUP]) + more
