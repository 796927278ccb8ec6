"""Deep features from a frozen, headless network, as an ordinary scikit-learn step."""

from importlib import import_module

_MODULES = {
    "ErrorsDisplay": "report.displays",
    "ExplanationDisplay": "explain.display",
    "FeatureMapDisplay": "report.displays",
    "FeatureNormalizer": "normalise",
    "FeatureStore": "store.feature_store",
    "FineTunedClassifier": "finetune.classifier",
    "ResNetFeaturizer": "featurizer",
    "backbones": "sources.catalogue",
    "build_pipeline": "pipeline",
    "load": "bundle.loading",
    "load_folder": "datasets.folder",
    "load_sample": "datasets.sample",
    "network": "sources.vectors",
    "prefetch": "prefetching",
    "save": "bundle.saving",
}

__all__ = [*_MODULES]
__version__ = "0.1.0"


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module 'hybrid' has no attribute {name!r}")
    return getattr(import_module(f"hybrid.{_MODULES[name]}"), name)


def __dir__():
    return sorted([*__all__, "__version__"])
