"""Parts written by worker processes against one plain featurizer, and whether time and memory grow with the list."""

import argparse
import io
import os
import re
import statistics
import tempfile
import time
from contextlib import ExitStack
from itertools import cycle, islice
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.machine import line
from benchmarks.photos import PHOTOGRAPHS, jpegs
from hybrid import ResNetFeaturizer, load_sample
from hybrid.cluster.client import connected
from hybrid.cluster.driver import PART_SIZE, featurize
from hybrid.cluster.flow import flow
from hybrid.cluster.load import read_listing

# So that the shorter list has some for each worker, too.
SMALL_PART = 125


def main(argv):
    """Print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks scale")
    parser.add_argument("--images", type=int, default=4096, help="photographs to compare rates on")
    parser.add_argument("--backbone", default="efficientnet_lite0", help="the network to compare rates on")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--few", type=int, default=1000, help="small pictures of the shorter list")
    parser.add_argument("--many", type=int, default=50_000, help="small pictures of the longer list")
    parser.add_argument("--small-backbone", default="tiny", help="the network for small pictures")
    parser.add_argument("--part", type=int, default=1024, help="photographs a part: two or more a worker")
    options = parser.parse_args(argv)
    print(line())
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        os.environ["HYBRID_STORE"] = folder
        folder = Path(folder)
        clients = {workers: stack.enter_context(connected(workers=workers)) for workers in (1, 2)}
        rate = rates(clients, folder, options)
        growth(clients[2], folder, options)
        overhead(clients[2], folder, rate, options)


def rates(clients, folder, options):
    """Compare images a second of one process with those of workers on the same cores; return two workers'."""
    (folder / "photos").mkdir()
    paths = jpegs(options.images, folder / "photos")
    frame, params = pd.DataFrame({"image": paths}), {"backbone": options.backbone}
    plain = ResNetFeaturizer(**params, store=None)

    def parts(client, frame, number):
        featurize(frame, folder / f"rates {number}", client, options.part, **params)

    runs = {"plain": lambda frame, number: plain.fit_transform(frame["image"])}
    runs |= {
        workers: lambda frame, number, client=client: parts(client, frame, number)
        for workers, client in clients.items()
    }
    for number, (workers, run) in enumerate(runs.items()):
        # Opens the network everywhere: in parts of a few images, so that each worker has one.
        run(frame.head(options.part * (1 if workers == "plain" else 2 * workers)), f"warm {number}")
    times = {name: [] for name in runs}
    for i in range(options.rounds):
        for name, run in runs.items():
            start = time.perf_counter()
            run(frame, f"{i} {name}")
            times[name].append(time.perf_counter() - start)
    median = {name: statistics.median(values) for name, values in times.items()}
    print(
        f"{options.images} JPEG files of 500 x 375, {options.backbone} ({plain.engine_}, {plain.precision_}), "
        f"parts of {options.part}, {options.rounds} rounds, medians; one process without Dask: "
        f"{options.images / median['plain']:.0f} images/s"
    )
    for workers in clients:
        print(f"  parts by {workers} workers: {median['plain'] / median[workers]:.2f}x (at least 0.90)")
    return options.images / median[2]


def growth(client, folder, options):
    """Compare what an image costs in a short and in a long list, in time and in memory."""
    params = {"backbone": options.small_backbone}
    few, many = (small(folder, count) for count in (options.few, options.many))
    featurize(few, folder / "warm", client, SMALL_PART, **params)
    seconds, peaks = {}, {}
    for path, count in ((few, options.few), (many, options.many)):
        start = time.perf_counter()
        featurize(path, folder / f"out {count}", client, SMALL_PART, **params)
        seconds[count] = (time.perf_counter() - start) / count
        peaks[count] = [peak(), max(client.run(peak).values())]
    ratio = seconds[options.many] / seconds[options.few]
    print(
        f"{options.many} small pictures, {options.small_backbone}, parts of {SMALL_PART}, two workers: an image "
        f"costs {ratio:.2f}x what it does among {options.few} (0.85 to 1.15)"
    )
    driver, worker = (b - a for a, b in zip(peaks[options.few], peaks[options.many], strict=True))
    print(
        f"  peak memory above that for {options.few}: driver and scheduler {driver} MB, a worker {worker} MB"
    )


def overhead(client, folder, rate, options):
    """Compare what a part costs the driver and the scheduler with the work that is in it."""
    listing = read_listing(small(folder, options.many))
    parts = list(listing.parts(PART_SIZE))
    for _ in flow(client, look, ((part,) for part in parts)):
        pass
    start = time.perf_counter()
    for _, future in flow(client, look, ((part,) for part in parts)):
        future.result()
    # Two workers look at a part each at a time.
    cost = (time.perf_counter() - start) / len(parts)
    work = PART_SIZE / rate
    print(
        f"driver and scheduler take {1000 * cost:.1f} ms a part of {PART_SIZE} images, "
        f"{100 * cost / work:.2f} % of the time that two workers take for one by {options.backbone} (at most 2 %)"
    )


def look(part):
    """What is left of a part's work without any image."""
    return part.digest()


def small(folder, count):
    """Write a Parquet list of so many small JPEG files that all differ."""
    path = folder / f"{count}.parquet"
    if not path.exists():
        images = list(islice(cycle(pictures()), count))
        # Behind its end, where no decoder looks.
        images = [image + i.to_bytes(4, "big") for i, image in enumerate(images)]
        pd.DataFrame({"image": images}).to_parquet(path, row_group_size=PART_SIZE)
    return path


def pictures():
    """Small photographs as JPEG, or drawn pictures."""
    file = PHOTOGRAPHS / "cifar20k.parquet"
    if file.exists():
        return pd.read_parquet(file)["image"]
    return [encoded(image) for image in load_sample(100, size=32)["image"]]


def encoded(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "jpeg", quality=95)
    return buffer.getvalue()


def peak() -> int:
    """Return the largest memory that this process had, in MB."""
    return int(re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())[1]) // 1024
