"""What tests of a cluster stand on: workers that die of one picture and take their time over another, and a bucket."""

import os
import signal
import time
from pathlib import Path

import fsspec
import numpy as np
from distributed import WorkerPlugin
from fsspec.spec import AbstractFileSystem
from PIL import Image

# Behind the end of a picture, where no decoder looks.
DEADLY, SLOW = b"deadly", b"slow"
SECONDS = 0.02


def picture(path, seed, *marks):
    """Write a small picture; its marks say what happens to the worker that decodes it."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (40, 48, 3), np.uint8)).save(path, "png")
    path.write_bytes(path.read_bytes() + b"".join(marks))
    return path


def folder(root, count, *marks):
    """Write so many pictures of three classes; return their paths in the order of a listing."""
    return sorted(str(picture(root / f"class {i % 3}" / f"{i:05d}.png", i, *marks)) for i in range(count))


class Bucket(AbstractFileSystem):
    """The folders of BUCKETS, as s3://."""

    protocol = "s3"

    def ls(self, path, detail=True, **kwargs):
        path = self._strip_protocol(path)
        return [
            {"name": f"{path}/{entry.name}", "size": 0, "type": "directory" if entry.is_dir() else "file"}
            for entry in os.scandir(Path(os.environ["BUCKETS"], path))
        ]

    def _open(self, path, mode="rb", **kwargs):
        return open(Path(os.environ["BUCKETS"], self._strip_protocol(path)), mode)


class Hooks(WorkerPlugin):
    """Patches the decoder of each worker, of those that take a dead one's place as well."""

    name = "hooks"

    def __init__(self, buckets):
        self.buckets = str(buckets)

    def setup(self, worker):
        from hybrid.features import embed

        os.environ["BUCKETS"] = self.buckets
        fsspec.register_implementation("s3", Bucket, clobber=True)
        decode = embed.decode

        def marked(raw, *rest):
            if isinstance(raw, bytes) and raw.endswith(DEADLY):
                os.kill(os.getpid(), signal.SIGKILL)
            if isinstance(raw, bytes) and raw.endswith(SLOW):
                time.sleep(SECONDS)
            return decode(raw, *rest)

        embed.decode = marked
