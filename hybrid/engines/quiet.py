"""A moment in; the same moment without TensorFlow's start-up lines on stderr out.

It prints them past `sys.stderr` and whatever TF_CPP_MIN_LOG_LEVEL says, so they are taken out at the file
descriptor, by a process of its own: what else is written, be it the last words before a crash, comes through.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

# What it says of itself and of GPUs that are not there: information, warnings, and errors that are none.
CHATTER = "|".join(
    [
        "^WARNING: All log messages before absl::InitializeLog",
        "^[IW][0-9]{4} [0-9:. ]+ [a-z_/]+[.](cc|h):[0-9]+\\]",
        "^[0-9-]{10} [0-9:.]+: [IW] (external|tensorflow|xla)",
        "^[E0-9].*(failed call to cuInit|Unable to register cu(DNN|FFT|BLAS) factory)",
        "^To enable the following instructions:",
    ]
)
FILTER = ("grep", "--line-buffered", "-E", "-v", CHATTER)
PATIENCE = 1.0

_lock = threading.Lock()
_inside = 0
_filter: tuple[int, subprocess.Popen] | None = None


@contextmanager
def quiet() -> Iterator[None]:
    """Keep TensorFlow's start-up lines off stderr; several threads may be inside at once."""
    global _inside, _filter
    with _lock:
        _inside += 1
        if _inside == 1 and _filter is None:
            _filter = begin()
    try:
        yield
    finally:
        with _lock:
            _inside -= 1
            if not _inside and _filter:
                end(*_filter)
                _filter = None


def begin() -> tuple[int, subprocess.Popen] | None:
    """Put the filter before stderr; return what stderr was, and the filter."""
    if not shutil.which(FILTER[0]):
        return None
    with suppress(OSError):
        flush()
        process = subprocess.Popen(FILTER, stdin=subprocess.PIPE, stdout=2)
        before = os.dup(2)
        os.dup2(process.stdin.fileno(), 2)
        process.stdin.close()
        return before, process
    return None


def end(before: int, process: subprocess.Popen):
    """Put stderr back, and wait for the filter to have written all; a child may hold its other end open."""
    flush()
    os.dup2(before, 2)
    os.close(before)
    with suppress(subprocess.TimeoutExpired):
        process.wait(PATIENCE)


def flush():
    """Write out what Python holds back."""
    with suppress(AttributeError, OSError, ValueError):
        sys.stderr.flush()
