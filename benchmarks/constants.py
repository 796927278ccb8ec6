"""What docs/scale.md reckons with, on this machine: `python -m benchmarks constants`.

Seconds are of processor time in all threads of the process, so that they hold on a busy machine, too.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import line
from benchmarks.photos import jpegs

IMAGES = 128
ROWS, WIDTH, BATCH = 20_000, 1280, 32
TASKS = 2_000
NETWORKS = {
    "efficientnet_lite0": ("float32", "bfloat16", "int8"),
    "resnet50": ("float32", "bfloat16", "int8"),
    "convnexttiny": ("float32", "bfloat16"),
    "convnextbase": ("float32", "bfloat16"),
}


def main(argv):
    """Print them."""
    print(line())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYBRID_STORE"] = folder
        photos = Path(folder) / "photos"
        photos.mkdir()
        paths = jpegs(IMAGES, photos)
        reading(paths)
        networks(paths, argv or list(NETWORKS))
        rows(Path(folder))
        tasks()


def cost(work: Callable, times: int = 3) -> float:
    """Return the least processor time of some runs."""
    taken = []
    for _ in range(times):
        start = time.process_time()
        work()
        taken.append(time.process_time() - start)
    return min(taken)


def reading(paths):
    from hybrid.images.decoding import decode, digest
    from hybrid.images.frame import Frame
    from hybrid.images.source import read

    raws = [read(path) for path in paths]
    print(f"{np.mean([len(raw) for raw in raws]) / 1e3:.0f} KB a JPEG file of 500 x 375")
    for name, work in (
        ("read and hash", lambda: [digest(read(path)) for path in paths]),
        ("decode", lambda: [decode(raw, Frame((224, 224))) for raw in raws]),
    ):
        print(f"{name}: {1e3 * cost(work) / len(paths):.2f} ms an image")


def networks(paths, names):
    from hybrid import ResNetFeaturizer
    from hybrid.features.passes import read_request
    from hybrid.images.decoding import decode
    from hybrid.images.source import read

    for name in names:
        weights = {} if name.startswith("efficientnet_lite") else {"weights": None, "seed": 0}
        for precision in NETWORKS[name]:
            params = ResNetFeaturizer(name, precision=precision, store=None, **weights).get_params()
            recipe = read_request(paths, params).recipe
            pixels = [decode(read(path), recipe.frame) for path in paths]
            batches = [np.concatenate(pixels[i : i + BATCH]) for i in range(0, len(pixels), BATCH)]
            engine = recipe.open()
            list(engine.run(iter(batches[:1])))
            seconds = cost(lambda engine=engine, batches=batches: list(engine.run(iter(batches))), 2)
            print(f"{name}, {engine.__class__.__module__.split('.')[-1]}, {precision}: ", end="")
            print(f"{1e3 * seconds / len(pixels):.1f} ms an image", flush=True)


def rows(folder):
    import pyarrow as pa
    from pyarrow import parquet

    from hybrid import FeatureStore

    rng = np.random.default_rng(0)
    matrix, digests = rng.random((ROWS, WIDTH), np.float32), [rng.bytes(16) for _ in range(ROWS)]
    store = FeatureStore(folder / "rows", limit="10GB")

    def put():
        for i in range(0, ROWS, BATCH):
            store.put(digests[i : i + BATCH], {"{}": matrix[i : i + BATCH]})

    def write():
        lists = pa.FixedSizeListArray.from_arrays(pa.array(matrix.ravel()), WIDTH)
        names = [f"photos/class/{i:09}.jpg" for i in range(ROWS)]
        table = pa.table({"path": names, "digest": [one.hex() for one in digests], "features": lists})
        parquet.write_table(table, folder / "rows.parquet", use_dictionary=False)

    for name, work in (
        ("store", put),
        ("look up", lambda: [store.get("{}", digests[i : i + 256], WIDTH) for i in range(0, ROWS, 256)]),
        ("Parquet", write),
        ("read Parquet", lambda: parquet.read_table(folder / "rows.parquet")),
    ):
        print(f"{name}: {1e6 * cost(work, 1) / ROWS:.0f} us a row of {WIDTH}")
    held, written = store.stats()["bytes"], (folder / "rows.parquet").stat().st_size
    print(
        f"bytes a row: {held / ROWS:.0f} in the store, {written / ROWS:.0f} in Parquet, {4 * WIDTH} of features"
    )


def tasks():
    from hybrid.cluster.client import connected

    with connected(workers=2) as client:
        client.gather(client.map(abs, range(10)))
        # The scheduler lives in this process, beside the client.
        seconds = cost(lambda: client.gather(client.map(abs, range(TASKS), pure=False)), 2)
    print(f"scheduler and client: {1e3 * seconds / TASKS:.2f} ms a task")


if __name__ == "__main__":
    # Dask's workers import the program that started them.
    main([])
