"""A network and what the user asked for in; the engine and the precision that run it out."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

from hybrid.engines.engine import PRODUCTS, kind
from hybrid.sources.network import Network

ENGINES = ("auto", "tensorflow", "openvino", "tiny")
PRECISIONS = ("auto", "float32", "bfloat16", "int8")
GPUS = ("/dev/nvidia0", "/dev/kfd", "/dev/dxg")


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
    name, fitting = network.backbone.name, network.backbone.engines
    if engine == "auto":
        engine = _fastest(name, fitting)
    if engine not in fitting:
        names = " or ".join(map(repr, fitting))
        raise ValueError(f"Got engine={engine!r}, but backbone {name!r} runs on {names}.")
    if not installed(engine):
        raise ValueError(f"Engine {engine!r} needs {PRODUCTS[engine]}: pip install {engine}")
    return engine, kind(engine).choose_precision(precision)


def installed(engine: str) -> bool:
    """Say whether what an engine needs is installed."""
    return PRODUCTS[engine] is None or find_spec(engine) is not None


def _fastest(name, fitting):
    """Return the quickest engine of those that fit a network and are installed."""
    if "tensorflow" in fitting and _sees_gpu():
        return "tensorflow"
    fitting = [engine for engine in PRODUCTS if engine in fitting]
    for engine in fitting:
        if installed(engine):
            return engine
    raise ValueError(f"No engine that runs {name!r} is installed: pip install {' '.join(fitting)}")


def _sees_gpu():
    """Whether TensorFlow, where it is loaded already, sees a GPU."""
    tensorflow = sys.modules.get("tensorflow")
    if tensorflow is None or not any(Path(gpu).exists() for gpu in GPUS):
        return False
    return bool(tensorflow.config.list_physical_devices("GPU"))
