"""A network, an engine and the parts to read in; the opened engine out, one a process for all who ask."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

import joblib

from hybrid.engines.drift import measure
from hybrid.engines.engine import PRODUCTS, Calibration, Engine, Part, kind
from hybrid.engines.int8 import calibration_digest
from hybrid.sources.network import Network

# Opened engines hold a whole network each: a grid over backbones must not keep them all.
KEPT = 4

_opened: OrderedDict[tuple, Engine] = OrderedDict()
_lock = threading.Lock()
_has_native_threads = False
_orphaned = False


def open_engine(
    network: Network, parts: Sequence[Part], engine: str, precision: str, calibration: Calibration = None
) -> Engine:
    """Return the engine that computes these parts; calls that ask for the same share one.

    `engine` and `precision` are what `choose` returned; `calibration` is images to set the scales of precision
    "int8" by, or their digest, which finds a network that was calibrated before.
    """
    use_threads(engine)
    key = (network, tuple(parts), engine, precision, threads(), calibration_digest(calibration))
    with _lock:
        found = _opened.pop(key, None)
        if found is None:
            while len(_opened) >= KEPT:
                _opened.popitem(last=False)
            found = load(network, tuple(parts), engine, precision, calibration)
        _opened[key] = found
        return found


def use_threads(engine: str) -> None:
    """Refuse an engine whose threads were lost in a fork; any later fork loses them."""
    global _has_native_threads
    if _orphaned and PRODUCTS[engine]:
        raise RuntimeError(
            f"Engine {engine!r} was in use before this process was forked, and its threads are lost here. "
            "Start workers with joblib's loky or with multiprocessing's spawn."
        )
    _has_native_threads |= bool(PRODUCTS[engine])


def load(
    network: Network, parts: tuple[Part, ...], engine: str, precision: str, calibration: Calibration = None
) -> Engine:
    """Open an engine of its own, and measure its drift: not a tuned network's, to open it once only."""
    found = kind(engine).load(network, parts, precision, threads(), calibration)
    if precision != "float32":
        exact = partial(load, network, parts, engine, "float32")
        tuned, digest = network.weights.changes, calibration_digest(calibration)
        found.drift = None if tuned else measure(network, parts, found, exact, digest)
    return found


def threads() -> int:
    """How many threads an engine may use: joblib's count of cores, or fewer by OMP_NUM_THREADS."""
    cores = joblib.cpu_count()
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(asked)) if asked.isdigit() and int(asked) else cores


def _start_over_after_fork():
    """A forked child has its parent's engines without their threads: to use or to free them would hang."""
    global _opened, _lock, _orphaned, _inherited
    _inherited = _opened
    _opened, _lock = OrderedDict(), threading.Lock()
    _orphaned = _has_native_threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over_after_fork)
