"""Who runs a network: TensorFlow, OpenVINO or NumPy, behind one narrow interface, opened once a process."""

from __future__ import annotations

import os
import sys
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Protocol

import joblib
import numpy as np

from hybrid.engines.drift import measure
from hybrid.engines.int8 import calibration_digest
from hybrid.sources.bundled import FAMILY as BUNDLE
from hybrid.sources.exchange import FAMILIES
from hybrid.sources.network import Network

PRODUCTS = {"tensorflow": "TensorFlow", "openvino": "OpenVINO"}
ENGINES = ("auto", *PRODUCTS, "tiny")
# The families that one engine alone runs.
FITTING = {"tiny": ("tiny",), **dict.fromkeys((BUNDLE, *FAMILIES.values()), ("openvino",))}
PRECISIONS = ("auto", "float32", "bfloat16", "int8")
GPUS = ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")
# Opened engines hold a whole network each: a grid over backbones must not keep them all.
KEPT = 4


class Engine(Protocol):
    """An opened network: `run` takes uint8 batches and gives one float32 array a part for each, in order.

    It pulls from `batches` only as far ahead as keeps the hardware busy, and several threads may run it.
    """

    name: str
    precision: str
    drift: float
    widths: tuple[int, ...]

    def run(self, batches: Iterable[np.ndarray]) -> Iterator[list[np.ndarray]]: ...


_opened: OrderedDict[tuple, Engine] = OrderedDict()
_lock = threading.Lock()
_has_native_threads = False
_orphaned = False


def choose(network: Network, engine: str = "auto", precision: str = "auto") -> tuple[str, str]:
    """Return the engine and the precision that "auto" stands for; no network is opened.

    Examples
    --------
    >>> from hybrid.sources.catalogue import find
    >>> from hybrid.sources.network import locate
    >>> choose(locate(find("tiny"), "imagenet", None, (32, 32), False))
    ('tiny', 'float32')
    """
    for name, value, allowed in (("engine", engine, ENGINES), ("precision", precision, PRECISIONS)):
        if value not in allowed:
            raise ValueError(f"Got {name}={value!r}, but expected one of {', '.join(map(repr, allowed))}.")
    fitting = FITTING.get(network.backbone.family, tuple(PRODUCTS))
    if engine == "auto":
        engine = fitting[0] if len(fitting) == 1 else fastest()
    if engine not in fitting:
        names = " or ".join(map(repr, fitting))
        raise ValueError(f"Got engine={engine!r}, but backbone {network.backbone.name!r} runs on {names}.")
    if engine in PRODUCTS and not installed(engine):
        raise ValueError(f"Engine {engine!r} needs {PRODUCTS[engine]}: pip install {engine}")
    return engine, import_module(f"hybrid.engines.{engine}").choose_precision(precision)


def open_engine(network, parts, engine, precision, calibration=None) -> Engine:
    """Return the engine that computes these parts; calls that ask for the same share one.

    Parameters
    ----------
    network : Network
    parts : sequence of (layer, pooling)
    engine, precision : str
        What :func:`choose` returned.
    calibration : uint8 array of shape (n, h, w, 3), or its digest, optional
        Images to set the scales of precision "int8" by; the digest finds a network calibrated before.

    Returns
    -------
    engine : Engine
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


def use_threads(engine):
    """Refuse an engine whose threads were lost in a fork; any later fork loses them."""
    global _has_native_threads
    if _orphaned and engine != "tiny":
        raise RuntimeError(
            f"Engine {engine!r} was in use before this process was forked, and its threads are lost here. "
            "Start workers with joblib's loky or with multiprocessing's spawn."
        )
    _has_native_threads |= engine != "tiny"


def load(network, parts, engine, precision, calibration=None) -> Engine:
    """Open an engine of its own, and measure its drift; a tuned network is not opened twice for that."""
    module = import_module(f"hybrid.engines.{engine}")
    found = module.load(network, parts, precision, threads(), calibration)
    if precision != "float32" and not network.weights.changes:
        exact = partial(load, network, parts, engine, "float32")
        found.drift = measure(network, parts, found, exact, calibration_digest(calibration))
    return found


def threads() -> int:
    """How many threads an engine may use: joblib's count of cores, or fewer by OMP_NUM_THREADS."""
    cores = joblib.cpu_count()
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(cores, int(asked)) if asked.isdigit() and int(asked) else cores


def fastest() -> str:
    """The engine for an ordinary network: the quickest one installed."""
    if sees_gpu():
        return "tensorflow"
    for engine in ("openvino", "tensorflow"):
        if installed(engine):
            return engine
    raise ValueError("No engine is installed: pip install openvino tensorflow")


def sees_gpu() -> bool:
    """Whether TensorFlow, where it is loaded already, sees a GPU."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not any(Path(gpu).exists() for gpu in GPUS):
        return False
    return bool(tensorflow.config.list_physical_devices("GPU"))


def installed(engine) -> bool:
    return find_spec(engine) is not None


def _start_over_after_fork():
    """A forked child has its parent's engines without their threads: to use or to free them would hang."""
    global _opened, _lock, _orphaned, _inherited
    _inherited = _opened
    _opened, _lock = OrderedDict(), threading.Lock()
    _orphaned = _has_native_threads


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_start_over_after_fork)
