"""A part of a list and a task in; the part's file out, made by whichever worker it is given to, the same each time."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hybrid.archive.place import whole
from hybrid.cluster.dataset import FOOTER, part_name, read_manifest
from hybrid.cluster.part import Part
from hybrid.features.embed import Rows, run
from hybrid.features.recipe import Recipe, read_recipe
from hybrid.images.decoding import digest
from hybrid.images.source import read

if TYPE_CHECKING:
    import pyarrow


@dataclass(frozen=True)
class Task:
    """What all parts of a folder have in common; the same values for every worker, none of them "auto"."""

    out: str
    identity: str
    params: dict
    recipes: tuple[str, ...]
    run: str  # of the driver: what those of an earlier one still write does not count

    def recipe(self) -> Recipe:
        """Return the recipe, which must be the driver's here, too."""
        found = read_recipe(self.params)
        texts = tuple(map(found.text, found.parts))
        if texts != self.recipes:
            raise ValueError(
                f"Worker {platform.node()} reads another recipe than the driver: {texts[0]}, but expected "
                f"{self.recipes[0]}. Give all machines the same version of hybrid, weights and packages."
            )
        return found


def make_part(part: Part, task: Task) -> dict:
    """Write a part's file, whole or not at all; return what its footer says."""
    inputs = part.digest()
    return write_part(*compute(part, task), part.number, inputs, task)


def compute(part: Part, task: Task) -> tuple[pyarrow.Table, list[list[str]]]:
    """Return the rows of a part, and the path and the reason of each image that cannot be read."""
    import pyarrow

    part, recipe = part.loaded(), task.recipe()
    rows = Rows(len(part.images), recipe)
    # No store: one SQLite file serves the processes of a machine, not machines, and parts keep what it would.
    failures = run(part.images, recipe, None, rows, task.params["batch_size"])
    failed = {row: reason for row, _, reason in failures}
    good = [row for row in range(len(part.images)) if row not in failed]
    matrix = rows.of(recipe.parts)[good]
    paths = part.paths()
    digests = [rows.digests[row] or digest(read(part.images[row]), recipe.value_range) for row in good]
    features = pyarrow.FixedSizeListArray.from_arrays(pyarrow.array(matrix.ravel()), matrix.shape[1])
    columns = {
        "path": pyarrow.array([paths[row] for row in good], pyarrow.string()),
        "digest": pyarrow.array([one.hex() for one in digests], pyarrow.string()),
    }
    about = part.about.take(pyarrow.array(good, pyarrow.int64()))
    columns |= dict(zip(about.column_names, about.columns, strict=True))
    table = pyarrow.table(columns | {"features": features})
    return table, [[paths[row], reason] for row, reason in failed.items()]


def write_part(table: pyarrow.Table, failures: list, number: int, inputs: str, task: Task) -> dict:
    """Write rows that are computed as a part, unless the folder is another driver's meanwhile."""
    import pyarrow.parquet

    footer = {"identity": task.identity, "inputs": inputs, "errors": failures}
    table = table.replace_schema_metadata({FOOTER: json.dumps(footer)})
    texts = [field.name for field in table.schema if field.name not in ("path", "digest", "features")]
    with whole(os.path.join(task.out, part_name(number))) as file:
        # A dictionary of floats, or of names that are all different, would be thrown away again.
        pyarrow.parquet.write_table(table, file, row_group_size=max(len(table), 1), use_dictionary=texts)
        if read_manifest(task.out).get("run") != task.run:
            raise ValueError(
                f"{task.out!r} is not there as the driver made it. Give a folder that all machines share, and leave "
                "it alone meanwhile."
            )
    return footer | {"rows": len(table)}
