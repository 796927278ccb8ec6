"""More images than one machine has time for: the same work in many processes, on Dask."""

from importlib import import_module

_MODULES = {
    "connected": "client",
    "featurize": "driver",
    "import_features": "merge",
    "searching": "search",
    "share": "search",
}

__all__ = [*_MODULES]


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'hybrid.cluster' has no attribute {name!r}")
    return getattr(import_module(f"hybrid.cluster.{_MODULES[name]}"), name)


def __dir__():
    return __all__
