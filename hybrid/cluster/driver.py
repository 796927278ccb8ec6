"""A list of images of any length in; a folder of Parquet parts of their features out, each image in it exactly once."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from itertools import chain
from numbers import Integral
from typing import TYPE_CHECKING

from hybrid.cluster.client import connected, need
from hybrid.cluster.dataset import Ledger, Purpose, alone, begin, refuse_another
from hybrid.cluster.flow import flow, outcome
from hybrid.cluster.listing import Listing
from hybrid.cluster.load import read_listing
from hybrid.cluster.part import Part
from hybrid.cluster.work import Task, compute, make_part, write_part
from hybrid.features.embed import CALIBRATION_IMAGES, calibrate
from hybrid.features.recipe import Recipe, read_recipe
from hybrid.featurizer import ResNetFeaturizer
from hybrid.images.source import URL

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow
    from distributed import Client

# Some seconds of a core's work: less, and the scheduler would be felt; more, and a killed worker would.
PART_SIZE = 2048
# How often a worker may die of one task before its images are tried one by one; only a scheduler of ours is told.
DEATHS = 2
# How often an image that did is tried alone.
TRIES = 2
# A part comes in one piece: rates over a shorter time would jump.
SPEED_SECONDS = 120
EMPTY = "Got a list without rows, but expected at least one image."
POISON = "a worker process died of it, each time it was tried"


def featurize(
    data: str | os.PathLike | pd.DataFrame,
    out: str | os.PathLike,
    client: Client | None = None,
    part_size: int = PART_SIZE,
    *,
    workers: int | None = None,
    scheduler: str | None = None,
    image: Hashable | None = None,
    label: Hashable | None = None,
    urls: bool = False,
    verbose: int = 0,
    **featurizer_params: object,
) -> dict:
    """Write the features of any number of images into a folder of Parquet files, on Dask.

    The same call makes what is missing, whatever became of an earlier one; memory stays flat however long the list.
    Images that cannot be read, or that kill the process which decodes them, are listed in ``_errors.parquet``, and
    all others are rows. Any reader of Parquet takes ``part-*.parquet``: columns path, digest (of the
    content, as the feature store has it), what else the list says of an image, and features, a list of float32 of one
    length; ``_manifest.json`` says what these are.

    Parameters
    ----------
    data : path, prefix, DataFrame or "sample"
        A folder, with a sub-folder a class or without labels; a ``.csv``, ``.tsv`` or ``.parquet`` list,
        which needs no labels; a prefix such as "s3://bucket/photos"; or a DataFrame.
    out : path
        A folder that all workers share: new, empty, or begun by the same call. One driver at a time may write into it.
    client : distributed.Client, default=None
        See `hybrid.cluster.connected`, also for `workers` and `scheduler`.
    part_size : int, default=2048
        Images a file.
    workers : int, default=None
        So many processes on this machine; one a core if neither a client nor a scheduler is given. A program that
        starts them guards its main part by ``if __name__ == "__main__":``.
    scheduler : str, default=None
        The address of a scheduler.
    image, label : column name, default=None
        A table's, where their names do not tell.
    urls : bool, default=False
        Whether a table's images may be URLs.
    verbose : int, default=0
        1 shows a progress bar.
    **featurizer_params
        Of :class:`hybrid.ResNetFeaturizer`, but for `store` and `on_error`. "auto" is settled once for all workers.

    Returns
    -------
    summary : dict
        path, rows, errors, features, parts, how many of these were made just now, and images_per_second.

    Examples
    --------
    >>> from hybrid.cluster import featurize
    >>> featurize("photos/", "features/", workers=4)  # doctest: +SKIP
    >>> pandas.read_parquet("features/")  # doctest: +SKIP
    """
    need("distributed", "pyarrow", "fsspec")
    if URL.match(os.fspath(out)):
        raise ValueError(f"Got out={os.fspath(out)!r}, but expected a folder that all workers share, no URL.")
    if not isinstance(part_size, Integral) or part_size < 1:
        raise ValueError(f"Got part_size={part_size!r}, but expected a positive integer.")
    out, start = os.path.abspath(os.path.expanduser(os.fspath(out))), time.perf_counter()
    listing = read_listing(data, image, label, urls)
    params, recipe = _settle(listing, featurizer_params)
    wanted = Purpose.of(listing, int(part_size), recipe)
    texts = tuple(one["recipe"] for one in wanted.features)
    ledger = Ledger(out, wanted.identity)
    made = images = 0
    with alone(out), _watched(listing, verbose) as advance:
        refuse_another(out, wanted)
        missing = _missing(listing.parts(part_size), ledger, advance)
        first = next(missing, None)
        if first is not None:
            task = Task(out, wanted.identity, params, texts, begin(out, wanted))
            with _connected(client, workers, scheduler) as found:
                for part, said in _made(found, chain([first], missing), task):
                    ledger.add(part.number, said)
                    advance(len(part.about))
                    made, images = made + 1, images + len(part.about)
        if not ledger.parts:
            raise ValueError(EMPTY)
        ledger.finish(wanted)
    rate = images / (time.perf_counter() - start)
    return {
        "path": out,
        "rows": ledger.rows,
        "errors": ledger.failed,
        "features": sum(recipe.widths()),
        "parts": len(ledger.parts),
        "made": made,
        "images_per_second": rate,
    }


def _settle(listing: Listing, given: dict) -> tuple[dict, Recipe]:
    """Return a featurizer's parameters without any "auto", and the recipe that they are."""
    params = ResNetFeaturizer(**given, store=None, on_error="nan").get_params()
    recipe = read_recipe(params)
    if recipe.precision == "int8" and recipe.calibration is None:
        first = next(listing.parts(CALIBRATION_IMAGES), None)
        if first is None:
            raise ValueError(EMPTY)
        calibrate(first.loaded().images, recipe)
        recipe = read_recipe(params)
    return params | {"engine": recipe.engine, "precision": recipe.precision}, recipe


def _missing(parts: Iterable[Part], ledger: Ledger, advance: Callable[[int], None]) -> Iterator[Part]:
    """Yield the parts that are not there."""
    for part in parts:
        if ledger.has(part):
            advance(len(part.about))
        else:
            yield part


@contextmanager
def _connected(client: Client | None, workers: int | None, scheduler: str | None) -> Iterator[Client]:
    """Give a client; a scheduler that is started for it gives up a task after so many deaths."""
    import dask

    settings = {
        "distributed.scheduler.allowed-failures": DEATHS - 1,
        # Images that a table in memory holds travel with their part.
        "distributed.admin.large-graph-warning-threshold": "1 GiB",
    }
    with (
        dask.config.set(settings),
        connected(client, workers, scheduler) as found,
    ):
        yield found


def _made(client: Client, parts: Iterable[Part], task: Task) -> Iterator[tuple[Part, dict]]:
    """Yield each part with what its footer says; those that killed their workers come last."""
    deadly = []
    for (part, _), future in flow(client, make_part, ((part, task) for part in parts)):
        said = outcome(future)
        if said is None:
            deadly.append(part)
        else:
            yield part, said
    for part in deadly:
        yield part, _rescue(client, part, task)


def _rescue(client: Client, part: Part, task: Task) -> dict:
    """Make a part that killed its workers image by image; what kills one again, all alone, is an error.

    Alone, because the scheduler suspects all tasks of a worker that dies, not the one that ran.
    """
    import pyarrow

    whole = part.loaded()
    rows = [whole.row(i) for i in range(len(whole.images))]
    found, suspects = {}, []
    for (row, _), future in flow(client, compute, ((row, task) for row in rows), ahead=1):
        found[row.first] = outcome(future)
        if found[row.first] is None:
            suspects.append(row)
    for row in suspects:
        found[row.first] = _made_alone(client, row, task) or (None, [[row.paths()[0], POISON]])
    if len(rows) > 1 and all(found[row.first][0] is None for row in rows):
        raise OSError("Workers died of every image of a part. Have they memory for the network?")
    none, _ = compute(replace(whole, images=[], about=whole.about.slice(0, 0)), task)
    tables = [none, *(found[row.first][0] for row in rows if found[row.first][0] is not None)]
    failures = [failure for row in rows for failure in found[row.first][1]]
    return write_part(pyarrow.concat_tables(tables), failures, part.number, part.digest(), task)


def _made_alone(client: Client, row: Part, task: Task) -> tuple[pyarrow.Table, list] | None:
    """Return what one image gives, or None if it killed its workers each time: once may be chance."""
    for _ in range(TRIES):
        ((_, future),) = flow(client, compute, [(row, task)])
        if (made := outcome(future)) is not None:
            return made
    return None


@contextmanager
def _watched(listing: Listing, verbose: int) -> Iterator[Callable[[int], None]]:
    """Show images, their rate and the remaining time; how many there are is counted meanwhile."""
    if not verbose:
        yield lambda images: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, ProgressColumn, TimeRemainingColumn
    from rich.text import Text

    class Rate(ProgressColumn):
        def render(self, task) -> Text:
            return Text(f"{task.speed:,.0f} images/s" if task.speed else "")

    columns = BarColumn(), MofNCompleteColumn(), Rate(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True), speed_estimate_period=SPEED_SECONDS) as bar:
        task = bar.add_task("", total=listing.rows)

        def count() -> None:
            # What is wrong with the list is told when it is read.
            with suppress(Exception):
                bar.update(task, total=listing.count())

        threading.Thread(target=count, daemon=True).start()
        yield lambda images: bar.advance(task, images)
