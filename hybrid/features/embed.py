"""Images and a recipe in, one float32 row an image out: threads decode, the engine runs, the store keeps.

Images stream through in bounded numbers: memory grows with the rows asked for, never with the images.
"""

from __future__ import annotations

import os
import time
import warnings
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from itertools import chain, islice

import numpy as np

from hybrid.engines.int8 import calibration_digest, make_usual
from hybrid.engines.opened import open_engine, threads
from hybrid.images.decoding import decode, digest
from hybrid.images.items import raise_for, report
from hybrid.images.pixels import ImageError
from hybrid.images.source import read
from hybrid.store.memory import states

# Images whose digests are looked up and claimed together.
CHUNK = 256
# Encoded images up to this size are kept between hashing and decoding; larger ones are read again.
SMALL = 1 << 18
POLL_SECONDS = 0.05
CALIBRATION_IMAGES = 128


@dataclass(eq=False)
class Job:
    """One image on its way: where its row goes, and what is known of its content."""

    item: object
    positions: list[int]
    digest: bytes | None = None
    claim: bytes | None = None
    raw: object = None
    computed: bool = False


@dataclass
class Pass:
    """One run of many images through one recipe; ``sink(jobs, vectors)`` gets every row that is done."""

    items: object
    recipe: object
    store: object
    batch_size: int
    sink: object
    failures: list = field(default_factory=list)

    def run(self):
        """Send every image's vectors to the sink, from the store where it has them."""
        self.running, self.deferred = {}, []
        with ThreadPoolExecutor(threads()) as self.pool:
            try:
                self.compute(self.plain_jobs() if self.store is None else self.missing_jobs(self.hashed()))
                while self.deferred:
                    waiting, self.deferred = self.deferred, []
                    self.compute(self.missing_jobs(chunks(waiting, CHUNK)))
                    if self.deferred:
                        time.sleep(POLL_SECONDS)
            except BaseException:
                self.pool.shutdown(wait=False, cancel_futures=True)
                raise
            finally:
                self.finish(list(self.running.values()))

    def plain_jobs(self):
        for position, item in enumerate(self.items):
            yield Job(item, [position])

    def hashed(self):
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

    def hash(self, job):
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

    def missing_jobs(self, job_chunks):
        """Send what the store holds to the sink; claim and yield the rest, each content once."""
        for jobs in job_chunks:
            wanted = {}
            for job in jobs:
                same = self.running.get(job.digest) or wanted.setdefault(job.digest, job)
                if same is not job:
                    same.positions += job.positions
            missing = self.look_up(list(wanted.values()))
            held = self.store.claim(self.recipe.scope, [job.digest for job in missing])
            mine = [job for job, ours in zip(missing, held, strict=True) if ours]
            self.deferred += [job for job, ours in zip(missing, held, strict=True) if not ours]
            for job in mine:
                job.claim = job.digest
                self.running[job.claim] = job
            # Another process may have stored an image between the look-up and the claim.
            unstored = self.look_up(mine, count=False)
            self.finish([job for job in mine if job not in unstored])
            yield from unstored

    def look_up(self, jobs, count=True):
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

    def compute(self, jobs):
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
        for outputs in self.recipe.open().run(chain([first], feed)):
            self.keep(batches.popleft(), [average(rows, self.recipe.frame.views) for rows in outputs])

    def decoded(self, jobs):
        """Yield (job, pixels) in order, decoded a bounded number ahead."""
        ahead = deque()
        for job in jobs:
            ahead.append((job, self.pool.submit(self.decode, job)))
            if len(ahead) > self.batch_size + threads():
                yield from self.succeeded(*ahead.popleft())
        while ahead:
            yield from self.succeeded(*ahead.popleft())

    def decode(self, job):
        """Return the job's pixels, or the error."""
        recipe = self.recipe
        try:
            if job.raw is None:
                job.raw = read(job.item)
                if self.store is not None:
                    # The file may have changed since its digest was remembered.
                    job.digest = digest(job.raw, recipe.value_range)
            return decode(job.raw, recipe.frame, recipe.value_range)
        except ImageError as exc:
            return exc
        finally:
            job.raw = None

    def succeeded(self, job, future):
        pixels = future.result()
        if isinstance(pixels, ImageError):
            self.finish([job])
            self.fail(job, pixels)
        else:
            yield job, pixels

    def keep(self, jobs, vectors):
        """Store a batch, then send it to the sink."""
        for job in jobs:
            job.computed = True
        if self.store is not None:
            texts = [self.recipe.text(part) for part in self.recipe.parts]
            digests = [job.digest for job in jobs]
            self.store.put(digests, dict(zip(texts, vectors, strict=True)), passes=len(jobs))
        self.finish(jobs)
        self.sink(jobs, vectors)

    def finish(self, jobs):
        """Give back the claims of images that are done."""
        if self.store is not None and jobs:
            claims = [job.claim for job in jobs]
            self.store.release(self.recipe.scope, claims)
            for claim in claims:
                self.running.pop(claim, None)

    def fail(self, job, exc):
        self.failures += [(position, job.item, str(exc)) for position in job.positions]


def embed(items, recipe, store, *, batch_size=32, on_error="raise", verbose=0) -> np.ndarray:
    """Return the features of images, one float32 row each."""
    files = None if store is None else states(items)
    if files and (known := store.recall(recipe, files)) is not None:
        return known
    matrix = None

    def sink(jobs, vectors):
        nonlocal matrix
        rows = np.concatenate(vectors, axis=1) if len(vectors) > 1 else vectors[0]
        if matrix is None:
            matrix = np.full((len(items), rows.shape[1]), np.nan, np.float32)
        source = np.repeat(np.arange(len(jobs)), [len(job.positions) for job in jobs])
        matrix[list(chain.from_iterable(job.positions for job in jobs))] = rows[source]

    failures = run(items, recipe, store, sink, batch_size=batch_size, on_error=on_error, verbose=verbose)
    if matrix is None:
        return np.full((len(items), sum(recipe.widths())), np.nan, np.float32)
    if files and not failures:
        store.memory.keep(recipe, files, matrix)
    return matrix


def run(items, recipe, store, sink, *, batch_size=32, on_error="raise", verbose=0) -> int:
    """Send the vectors of all images to ``sink(jobs, vectors)``; raise or warn for bad ones at the end.

    Returns
    -------
    failures : int
        How many images could not be read.
    """
    with (
        progress(len(items), recipe.network.backbone.name, sink) if verbose else nullcontext(sink) as counted
    ):
        task = Pass(items, recipe, store, batch_size, counted)
        task.run()
    if not task.failures:
        return 0
    failures = sorted(task.failures, key=lambda failure: failure[0])
    if on_error == "raise":
        raise_for(failures)
    rows = "1 row is" if len(failures) == 1 else f"{len(failures)} rows are"
    warnings.warn(f"{rows} NaN. {report(failures)}", RuntimeWarning, stacklevel=4)
    return len(failures)


def calibrate(items, recipe):
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
def progress(total, name, sink):
    """One bar on stderr that knows the remaining time."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    with Progress(*columns, console=Console(stderr=True)) as bar:
        task = bar.add_task(name, total=total)

        def counting(jobs, vectors):
            sink(jobs, vectors)
            bar.advance(task, sum(len(job.positions) for job in jobs))

        yield counting


def chunks(iterable, size):
    """Split into lists of at most `size`."""
    iterator = iter(iterable)
    while chunk := list(islice(iterator, size)):
        yield chunk


def average(rows, views):
    """Average the views of each image."""
    return rows if views == 1 else rows.reshape(-1, views, rows.shape[1]).mean(axis=1)


def stat(item):
    """A file's status, taken before it is read, so that a later change can only make it a miss."""
    try:
        return os.stat(item) if isinstance(item, (str, os.PathLike)) else None
    except (OSError, ValueError):
        return None
