"""What one image, and all that are decoded at a time, may take: pixels, and with them memory, and seconds."""

from __future__ import annotations

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Condition

from hybrid.images.pixels import ImageError

# Of one picture, and of all that are being decoded in this process; a pixel takes up to 20 bytes meanwhile.
MAX_PIXELS = 100_000_000
# Of a thread's own processor time: a process that was suspended loses nothing.
MAX_SECONDS = 10
READS_BETWEEN_LOOKS = 1024


def check_size(width: int, height: int):
    """Refuse a picture without pixels, or with too many."""
    if width * height == 0:
        raise ImageError(f"{width} x {height} pixels, but expected at least one")
    if width * height > MAX_PIXELS:
        raise ImageError(f"{width} x {height} pixels are over the limit of {MAX_PIXELS}")


class _Budget:
    """Pixels that threads share: who asks for more than is left waits, unless nobody holds any."""

    def __init__(self):
        self.held, self.changed = 0, Condition()

    @contextmanager
    def hold(self, pixels: int) -> Iterator[None]:
        with self.changed:
            self.changed.wait_for(lambda: not self.held or self.held + pixels <= MAX_PIXELS)
            self.held += pixels
        try:
            yield
        finally:
            with self.changed:
                self.held -= pixels
                self.changed.notify_all()


BUDGET = _Budget()
if hasattr(os, "register_at_fork"):
    # The threads that hold pixels aren't there in a forked process.
    os.register_at_fork(after_in_child=BUDGET.__init__)


class Feed(io.BytesIO):
    """A file's bytes for decoders that read in many small steps, until their time is up."""

    def __init__(self, raw: bytes):
        super().__init__(raw)
        self.reads, self.start = 0, time.thread_time()

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        if self.reads % READS_BETWEEN_LOOKS == 0 and time.thread_time() - self.start > MAX_SECONDS:
            raise ImageError(f"not decoded within the limit of {MAX_SECONDS} seconds")
        return super().read(size)
