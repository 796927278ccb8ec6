"""Images and a recipe in, one float32 row an image out: threads decode, the engine runs, the store keeps.

Images stream through in bounded numbers: memory grows with the rows asked for, never with the images.
"""

from __future__ import annotations

import os
import sys
import time
import warnings
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from hybrid.engines.engine import Engine
from hybrid.engines.int8 import calibration_digest, make_usual
from hybrid.engines.opened import open_engine, threads
from hybrid.features.recipe import Recipe
from hybrid.features.rows import Job, Rows, Sink
from hybrid.images.decoding import decode, digest
from hybrid.images.items import listing, raise_for
from hybrid.images.pixels import ImageError
from hybrid.images.source import read
from hybrid.spelling import plain
from hybrid.store.feature_store import FeatureStore
from hybrid.store.memory import states

Failure = tuple[int, object, str]  # (row, item, reason)

# Images whose digests are looked up and claimed together.
CHUNK = 256
# Encoded images up to this size are kept between hashing and decoding; larger ones are read again.
SMALL = 1 << 18
POLL_SECONDS = 0.05
CALIBRATION_IMAGES = 128
# The share of a store's limit that the rows of one pass may take before they are cut to what was asked for.
SHARE = 0.5
# A warning points at the first line that is in none of these.
LIBRARIES = {"hybrid", "sklearn", "joblib", "skrub"}


@dataclass(eq=False)
class Pass:
    """One run of many images through one recipe; ``sink(jobs, vectors)`` gets every row that is done.

    The sink sees what the recipe asks for; the store keeps what else the network's record names.
    """

    items: Sequence
    recipe: Recipe
    store: FeatureStore | None
    batch_size: int
    sink: Sink
    failures: list[Failure] = field(default_factory=list, init=False)
    kept: Recipe = field(init=False)
    running: dict[bytes, Job] = field(default_factory=dict, init=False)
    deferred: list[Job] = field(default_factory=list, init=False)
    pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(threads()), init=False)

    def __post_init__(self) -> None:
        self.kept = kept(self.recipe, len(self.items), self.store)

    def run(self) -> None:
        """Send every image's vectors to the sink, from the store where it has them."""
        with self.pool:
            try:
                self.compute(self.plain_jobs() if self.store is None else self.missing_jobs(self.hashed()))
                self.wait()
            except BaseException:
                self.pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                self.finish(list(self.running.values()))

    def wait(self) -> None:
        """Take what others compute; once none of it has come for long, they may be suspended: compute it here."""
        last, share = time.monotonic(), True
        while self.deferred:
            waiting, self.deferred = self.deferred, []
            self.compute(self.missing_jobs(chunks(waiting, CHUNK), share))
            if len(self.deferred) < len(waiting):
                last = time.monotonic()
            elif time.monotonic() - last > self.store.patience:
                self.store.give_up()
                share = False
            else:
                time.sleep(POLL_SECONDS)

    def plain_jobs(self) -> Iterator[Job]:
        for position, item in enumerate(self.items):
            yield Job(item, [position])

    def hashed(self) -> Iterator[list[Job]]:
        """Yield chunks of jobs with their digests: remembered by path, or hashed in threads."""
        for chunk in chunks(enumerate(self.items), CHUNK):
            jobs = [Job(item, [position]) for position, item in chunk]
            files = [job for job in jobs if isinstance(job.item, (str, os.PathLike))]
            for job, known in zip(files, self.store.known([job.item for job in files]), strict=True):
                job.digest = known
            fresh = [job for job in jobs if job.digest is None]
            results = list(self.pool.map(self.hash, fresh))
            self.store.remember([entry for entry in results if isinstance(entry, tuple)])
            for job, result in zip(fresh, results, strict=True):
                if isinstance(result, ImageError):
                    self.fail(job, result)
            yield [job for job in jobs if job.digest is not None]

    def hash(self, job: Job) -> tuple[str | bytes, os.stat_result, bytes] | ImageError | None:
        """Set the job's digest; return what the store may remember of its file, or the error."""
        try:
            status = stat(job.item)
            raw = read(job.item)
            job.digest = digest(raw, self.recipe.value_range)
        except ImageError as exc:
            return exc
        if not isinstance(raw, bytes) or len(raw) <= SMALL:
            job.raw = raw
        return status and (os.fspath(job.item), status, job.digest)

    def missing_jobs(self, job_chunks: Iterable[list[Job]], share: bool = True) -> Iterator[Job]:
        """Send what the store holds to the sink; claim and yield the rest, or all of it, each content once."""
        for jobs in job_chunks:
            wanted = {}
            for job in jobs:
                same = self.running.get(job.digest) or wanted.setdefault(job.digest, job)
                if same is not job:
                    same.positions += job.positions
            missing = self.look_up(list(wanted.values()))
            held = self.store.claim(self.recipe.scope, [job.digest for job in missing])
            held |= not share
            mine = [job for job, ours in zip(missing, held, strict=True) if ours]
            self.deferred += [job for job, ours in zip(missing, held, strict=True) if not ours]
            for job in mine:
                job.claim = job.digest
                self.running[job.claim] = job
            # Another process may have stored an image between the look-up and the claim.
            unstored = self.look_up(mine, count=False)
            self.finish([job for job in mine if job not in unstored])
            yield from unstored

    def look_up(self, jobs: list[Job], count: bool = True) -> list[Job]:
        """Send the jobs that the store holds to the sink; return the others."""
        if not jobs:
            return []
        recipe, digests = self.recipe, [job.digest for job in jobs]
        vectors, found = [], np.ones(len(jobs), bool)
        for part in recipe.parts:
            values, held = self.store.get(recipe.text(part), digests, recipe.width(part), count=count)
            vectors.append(values)
            found &= held
        if found.any():
            rows = np.flatnonzero(found)
            self.sink([jobs[i] for i in rows], [values[rows] for values in vectors])
        return [job for job, held in zip(jobs, found, strict=True) if not held]

    def compute(self, jobs: Iterable[Job]) -> None:
        """Decode in threads beside the engine, and keep each batch as soon as it is there."""
        batches = deque()

        def pixels():
            for batch in chunks(self.decoded(jobs), self.batch_size):
                batches.append([job for job, _ in batch])
                yield np.concatenate([views for _, views in batch])

        feed = pixels()
        first = next(feed, None)
        if first is None:
            return
        for outputs in self.open().run(chain([first], feed)):
            self.keep(batches.popleft(), [average(rows, self.recipe.frame.views) for rows in outputs])

    def open(self) -> Engine:
        """Open the network for all that is kept; a user's own may name layers that give no vectors."""
        try:
            return self.kept.open()
        except ValueError:
            self.kept = self.recipe
            return self.recipe.open()

    def decoded(self, jobs: Iterable[Job]) -> Iterator[tuple[Job, np.ndarray]]:
        """Yield (job, pixels) in order, decoded a bounded number ahead."""
        ahead = deque()
        for job in jobs:
            ahead.append((job, self.pool.submit(self.decode, job)))
            if len(ahead) > self.batch_size + threads():
                yield from self.succeeded(*ahead.popleft())
        while ahead:
            yield from self.succeeded(*ahead.popleft())

    def decode(self, job: Job) -> np.ndarray | ImageError:
        """Return the job's pixels, or the error."""
        recipe = self.recipe
        try:
            if job.raw is None:
                job.raw = read(job.item)
                # The file may have changed since its digest was remembered. Pixels take as long as to decode them.
                if self.store is not None or isinstance(job.raw, bytes):
                    job.digest = digest(job.raw, recipe.value_range)
            return decode(job.raw, recipe.frame, recipe.value_range)
        except ImageError as exc:
            return exc
        finally:
            job.raw = None

    def succeeded(self, job: Job, future: Future) -> Iterator[tuple[Job, np.ndarray]]:
        pixels = future.result()
        if isinstance(pixels, ImageError):
            self.finish([job])
            self.fail(job, pixels)
        else:
            yield job, pixels

    def keep(self, jobs: list[Job], vectors: list[np.ndarray]) -> None:
        """Store a batch, then send it to the sink."""
        for job in jobs:
            job.computed = True
        rows = dict(zip(map(self.recipe.text, self.kept.parts), vectors, strict=True))
        if self.store is not None:
            self.store.put([job.digest for job in jobs], rows, passes=len(jobs))
        self.finish(jobs)
        self.sink(jobs, [rows[self.recipe.text(part)] for part in self.recipe.parts])

    def finish(self, jobs: list[Job]) -> None:
        """Give back the claims of images that are done."""
        if self.store is not None and jobs:
            claims = [job.claim for job in jobs]
            self.store.release(self.recipe.scope, claims)
            for claim in claims:
                self.running.pop(claim, None)

    def fail(self, job: Job, exc: ImageError) -> None:
        self.failures += [(position, job.item, str(exc)) for position in job.positions]


def kept(recipe: Recipe, count: int, store: FeatureStore | None) -> Recipe:
    """What a pass over so many images computes: all that the record names, where the store has room for it."""
    if store is None:
        return recipe
    width = sum(recipe.whole.width(part) or 0 for part in recipe.whole.parts)
    return recipe.whole if 4 * width * count <= SHARE * store.limit else recipe


def embed(
    items: Sequence,
    recipe: Recipe,
    store: FeatureStore | None,
    *,
    batch_size: int = 32,
    on_error: str = "raise",
    verbose: int = 0,
) -> np.ndarray:
    """Return the features of images, one float32 row each."""
    files = None if store is None else states(items)
    if files and (known := store.recall(recipe, files)) is not None:
        return known
    rows = Rows(len(items), recipe)
    failures = run(items, recipe, store, rows, batch_size, verbose)
    report(failures, on_error)
    matrix = rows.of(recipe.parts)
    if files and not failures:
        store.memory.keep(recipe, files, matrix)
    return matrix


def run(
    items: Sequence,
    recipe: Recipe,
    store: FeatureStore | None,
    sink: Sink,
    batch_size: int = 32,
    verbose: int = 0,
) -> list[Failure]:
    """Send the vectors of all images to ``sink(jobs, vectors)``; return those that cannot be read, in order."""
    name = recipe.network.backbone.name
    with progress(len(items), name, sink) if verbose else nullcontext(sink) as counted:
        task = Pass(items, recipe, store, batch_size, counted)
        task.run()
    return sorted(task.failures, key=lambda failure: failure[0])


def report(failures: list[Failure], on_error: str) -> None:
    """Raise or warn for images that cannot be read."""
    if not failures:
        return
    if on_error == "raise":
        raise_for(failures)
    rows = "1 row is" if len(failures) == 1 else f"{len(failures)} rows are"
    caution(f"{rows} NaN. {listing(failures)}", RuntimeWarning)


def caution(text: str, category: type[Warning]) -> None:
    """Warn, at the line of the user's that led here."""
    frame, level = sys._getframe(), 1
    while frame.f_back and frame.f_globals.get("__name__", "").partition(".")[0] in LIBRARIES:
        frame, level = frame.f_back, level + 1
    warnings.warn(text, category, stacklevel=level)


def calibrate(items: Sequence, recipe: Recipe) -> None:
    """Set the scales of an eight-bit network by the first images that can be read."""
    pixels = []
    for item in islice(items, CALIBRATION_IMAGES):
        with suppress(ImageError):
            pixels.append(decode(read(item), recipe.frame, recipe.value_range)[:1])
    if not pixels:
        raise ImageError(
            "Precision 'int8' needs images to set its scales by, but none of the first can be read."
        )
    images = np.concatenate(pixels)
    open_engine(recipe.network, recipe.parts, recipe.engine, recipe.precision, images)
    make_usual(recipe.network, calibration_digest(images))


@contextmanager
def progress(total: int, name: str, sink: Sink) -> Iterator[Sink]:
    """One bar on stderr that knows the remaining time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(plain(name), total=total)

        def counting(jobs: list[Job], vectors: list[np.ndarray]) -> None:
            sink(jobs, vectors)
            bar.advance(task, sum(len(job.positions) for job in jobs))

        yield counting


def chunks(iterable: Iterable, size: int) -> Iterator[list]:
    """Split into lists of at most `size`."""
    iterator = iter(iterable)
    while chunk := list(islice(iterator, size)):
        yield chunk


def average(rows: np.ndarray, views: int) -> np.ndarray:
    """Average the views of each image."""
    return rows if views == 1 else rows.reshape(-1, views, rows.shape[1]).mean(axis=1)


def stat(item: object) -> os.stat_result | None:
    """A file's status, taken before it is read, so that a later change can only make it a miss."""
    try:
        return os.stat(item) if isinstance(item, (str, os.PathLike)) else None
    except (OSError, ValueError):
        return None
