"""The feature store against joblib.Memory and against np.load: `python -m benchmarks store [FOLDER]`.

20,000 rows of 2048 float32, all on one disk, medians of 3. joblib.Memory is called once an image, as one does
to cache a function of an image, and for fewer images: its time a call does not depend on their number.
"""

from __future__ import annotations

import gc
import shutil
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
from joblib import Memory

from benchmarks.machine import line
from hybrid import FeatureStore

ROWS, WIDTH, BATCH, CHUNK = 20_000, 2048, 32, 256
CALLS = 2_000
LOOK_UP = 15e-6  # seconds a row that a look-up may cost beside np.load
RECIPE = '{"backbone": "resnet50"}'


def seconds(work, setup=lambda: None, times=3) -> float:
    """Return the median of some runs, each after a setup that is not timed."""
    taken = []
    for _ in range(times):
        setup()
        gc.collect()
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return median(taken)


def write(folder, digests, matrix):
    """Put rows as `embed` does: a batch a transaction."""
    store = FeatureStore(folder)
    for start in range(0, len(matrix), BATCH):
        assert store.put(digests[start : start + BATCH], {RECIPE: matrix[start : start + BATCH]})
    store.close()


def read(folder, digests, chunk):
    """Return all rows, opening the store included."""
    store = FeatureStore(folder)
    out = np.empty((len(digests), WIDTH), np.float32)
    for start in range(0, len(digests), chunk):
        out[start : start + chunk], found = store.get(RECIPE, digests[start : start + chunk], WIDTH)
        assert found.all()
    store.close()
    return out


def remembered(folder, keys, rows):
    """Call a function once an image through joblib.Memory."""

    def features(key):
        return rows[key]

    cached = Memory(folder, verbose=0).cache(features)
    for key in keys:
        cached(key)


def main(argv: list[str]) -> None:
    """Print the times and their ratios."""
    generator = np.random.default_rng(0)
    matrix = generator.standard_normal((ROWS, WIDTH), dtype=np.float32)
    digests = [generator.bytes(16) for _ in range(ROWS)]
    rows = dict(zip(digests[:CALLS], matrix, strict=False))
    with tempfile.TemporaryDirectory(dir=argv[0] if argv else None) as temporary:
        ours, theirs, plain = (
            Path(temporary) / "store",
            Path(temporary) / "joblib",
            Path(temporary) / "matrix.npy",
        )
        np.save(plain, matrix)
        assert np.array_equal(np.load(plain), matrix)
        written = seconds(partial(write, ours, digests, matrix), partial(shutil.rmtree, ours, True)) / ROWS
        assert np.array_equal(read(ours, digests, CHUNK), matrix)
        got = seconds(partial(read, ours, digests, CHUNK)) / ROWS
        at_once = seconds(partial(FeatureStore(ours).get, RECIPE, digests, WIDTH)) / ROWS
        work = partial(remembered, theirs, digests[:CALLS], rows)
        their_writing = seconds(work, partial(shutil.rmtree, theirs, True)) / CALLS
        their_reading = seconds(work) / CALLS
        loaded = seconds(partial(np.load, plain)) / ROWS
    print(f"{ROWS:,} x {WIDTH} float32, microseconds a row; joblib.Memory measured on {CALLS:,} calls")
    print(
        f"  writing   store {written * 1e6:7.1f}   joblib.Memory {their_writing * 1e6:7.1f}"
        f"   {their_writing / written:5.1f} x faster (at least 10)"
    )
    print(
        f"  reading   store {got * 1e6:7.1f}   joblib.Memory {their_reading * 1e6:7.1f}"
        f"   {their_reading / got:5.1f} x faster (at least 10)"
    )
    allowed = loaded + LOOK_UP
    print(
        f"  all rows  store {at_once * 1e6:7.1f}   np.load + {LOOK_UP * 1e6:.0f}  {allowed * 1e6:7.1f}"
        f"   {at_once / allowed:5.2f} x (at most 2); np.load alone {loaded * 1e6:.1f}"
    )
    print(line(), file=sys.stdout)
