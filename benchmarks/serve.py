"""`hybrid serve` under 1 to 64 clients, and against the same model on a folder of the same files, in one run."""

import argparse
import asyncio
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from benchmarks.machine import line
from benchmarks.photos import jpegs

CLIENTS = (1, 4, 16, 64)
COMPARED = 16
BATCH = """
import sys, time
from pathlib import Path
from hybrid.bundle.loading import read
from hybrid.server.work import worker
work = worker(read(sys.argv[1]), 0.9, 5)
contents = [file.read_bytes() for file in sorted(Path(sys.argv[2]).iterdir())]
work(contents[:32])
start, used = time.perf_counter(), time.process_time()
for _ in range(int(sys.argv[3])):
    work(contents)
images = int(sys.argv[3]) * len(contents)
print(images / (time.perf_counter() - start), (time.process_time() - used) / images)
"""


def main(argv):
    """Print a row a number of clients, and the ratio."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks serve")
    parser.add_argument(
        "--seconds", type=float, default=5, help="for each number of clients; 60 in the long form"
    )
    parser.add_argument("--images", type=int, default=192)
    parser.add_argument("--rounds", type=int, default=3, help="of the comparison")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    options = parser.parse_args(argv)
    print(line())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYBRID_STORE"] = str(Path(folder, "store"))
        (photos := Path(folder, "photos")).mkdir()
        paths = jpegs(options.images, photos)
        bundle = make_bundle(folder, options.backbone, paths)
        requests = [request(Path(path)) for path in paths]
        with served(bundle) as (port, pid):
            asyncio.run(load(port, requests, COMPARED, 2))
            under_load(port, pid, requests, options.seconds)
        compare(bundle, photos, requests, options)


def make_bundle(folder, backbone, paths) -> str:
    """Save a fitted pipeline with its network and what `hybrid train` adds, of ten classes."""
    from hybrid import build_pipeline, save
    from hybrid.statistics.neighbours import remember

    model = build_pipeline("logistic", backbone=backbone, store=None)
    labels = [i % 10 for i in range(len(paths))]
    model.fit(paths, labels)
    extras = {"memory": remember(model[0].transform(paths)), "images": paths, "labels": labels}
    extras["conformity"] = np.linspace(0, 1, len(paths))
    return str(save(model, Path(folder, "model.hybrid"), include_network=True, extras=extras))


def request(path) -> bytes:
    """The bytes that a client sends for a file."""
    head = f'--x\r\nContent-Disposition: form-data; name="file"; filename="{path.name}"\r\n\r\n'
    body = head.encode() + path.read_bytes() + b"\r\n--x--\r\n"
    fields = (
        f"Host: 127.0.0.1\r\nContent-Type: multipart/form-data; boundary=x\r\nContent-Length: {len(body)}"
    )
    return f"POST /predict HTTP/1.1\r\n{fields}\r\n\r\n".encode() + body


@contextmanager
def served(bundle):
    """A server of its own; its port and its process."""
    command = [sys.executable, "-m", "hybrid.cli", "serve", bundle, "--port", "0"]
    log = Path(bundle).with_name("server.log")
    with open(log, "w") as file:
        server = subprocess.Popen(command, stderr=file)
    try:
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)", log.read_text())):
            if server.poll() is not None:
                raise RuntimeError(log.read_text())
            time.sleep(0.05)
        yield int(found[1]), server.pid
    finally:
        server.terminate()
        server.wait(60)


async def load(port, requests, clients, seconds) -> tuple[Counter, list[float], float]:
    """Ask as so many clients, each as soon as it has its answer; statuses, seconds of answers, and their rate."""
    statuses, times = Counter(), []
    start = time.perf_counter()

    async def client(number):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        i = number
        while (begin := time.perf_counter()) < start + seconds:
            writer.write(requests[i % len(requests)])
            head = await reader.readuntil(b"\r\n\r\n")
            await reader.readexactly(int(re.search(rb"content-length: (\d+)", head)[1]))
            status = int(head[9:12])
            statuses[status] += 1
            if status == 200:
                times.append(time.perf_counter() - begin)
            i += clients
        writer.close()

    await asyncio.gather(*map(client, range(clients)))
    return statuses, times, len(times) / (time.perf_counter() - start)


def under_load(port, pid, requests, seconds):
    """Print what each number of clients meets."""
    print(f"{seconds:g} s each; one JPEG of 500 x 375 a request")
    before = megabytes(pid)
    for clients in CLIENTS:
        statuses, times, rate = asyncio.run(load(port, requests, clients, seconds))
        errors = sum(count for status, count in statuses.items() if status not in (200, 503))
        p50, p99 = np.percentile(times, [50, 99]) * 1000
        print(
            f"  {clients:2} clients: {rate:6.1f} images/s, p50 {p50:4.0f} ms, p99 {p99:4.0f} ms, "
            f"{statuses[503]} x 503, {errors} errors, {megabytes(pid):.0f} MB"
        )
    print(f"  memory: {megabytes(pid) - before:+.0f} MB from the first request to the last")


def megabytes(pid) -> float:
    text = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", text)[1]) / 1024


def compare(bundle, photos, requests, options):
    """Print the server's rate as a share of the same work's without a server, turn by turn."""
    rates, processor = [], []
    for _ in range(options.rounds):
        turns = max(1, round(options.seconds * 60 / len(requests)))
        command = [sys.executable, "-c", BATCH, bundle, str(photos), str(turns)]
        alone, used_alone = map(float, subprocess.check_output(command, stderr=subprocess.DEVNULL).split())
        with served(bundle) as (port, pid):
            asyncio.run(load(port, requests, COMPARED, 1))
            before = processor_seconds(pid)
            _, times, rate = asyncio.run(load(port, requests, COMPARED, options.seconds))
            used = (processor_seconds(pid) - before) / len(times)
        rates.append(rate / alone)
        processor.append(used_alone / used)
        print(
            f"  {COMPARED} clients: {rate:.1f} images/s, {1000 * used:.1f} ms of processor time each; "
            f"the same files in one batch: {alone:.1f}, {1000 * used_alone:.1f} ms"
        )
    print(
        f"{COMPARED} clients: {statistics.median(rates):.2f} of the batch's own rate, decoding included; by "
        f"processor time, which other work on the machine disturbs less, {statistics.median(processor):.2f}"
    )


def processor_seconds(pid) -> float:
    """What a process has used so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
