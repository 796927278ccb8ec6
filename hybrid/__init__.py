"""Deep features from a frozen, headless network, as an ordinary scikit-learn step."""

from importlib import import_module

# The function shares its name with the folder: bound here, after the folder's own import, it stays.
from hybrid.backbones import backbones

_MODULES = {
    "FeatureNormalizer": "normalise",
    "FeatureStore": "store",
    "FineTunedClassifier": "finetune",
    "ResNetFeaturizer": "featurizer",
    "build_pipeline": "search",
    "load": "bundle",
    "load_folder": "datasets",
    "load_sample": "datasets.sample",
    "network": "networks",
    "prefetch": "search",
    "save": "bundle",
}

__all__ = ["backbones", *_MODULES]
__version__ = "0.1.0"


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'hybrid' has no attribute {name!r}")
    return getattr(import_module(f"hybrid.{_MODULES[name]}"), name)


def __dir__():
    return sorted([*__all__, "__version__"])
