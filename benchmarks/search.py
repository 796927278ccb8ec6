"""A grid search on images, against the same Pipeline with a plain Keras transformer, both in one run."""

import argparse
import os
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.svm import SVC

from benchmarks.featurize import save_weights
from benchmarks.machine import line
from benchmarks.photos import jpegs
from hybrid import FeatureStore, ResNetFeaturizer, build_pipeline
from hybrid.features.embed import embed
from hybrid.features.recipe import read_recipe
from hybrid.images.decoding import decode
from hybrid.images.source import read
from hybrid.store.feature_store import open_store

GRID = {"C": np.logspace(-2, 3, 6), "gamma": ["scale", 1e-4]}
FOLDS = 5
ROUNDS = 7


class KerasFeatures(TransformerMixin, BaseEstimator):
    """What people write: the network runs whenever the step is asked."""

    def __init__(self, weights):
        self.weights = weights

    def fit(self, X, y=None):
        return self

    def transform(self, X):
        import keras
        from keras.applications.resnet50 import ResNet50, preprocess_input

        if not hasattr(KerasFeatures, "model"):
            KerasFeatures.model = ResNet50(weights=self.weights, include_top=False, pooling="avg")
        load, array = keras.utils.load_img, keras.utils.img_to_array
        rows = [
            KerasFeatures.model.predict(
                preprocess_input(
                    np.stack([array(load(path, target_size=(224, 224))) for path in X[i : i + 32]])
                ),
                verbose=0,
            )
            for i in range(0, len(X), 32)
        ]
        return np.concatenate(rows)


def main(argv):
    """Print the ratios."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks search")
    parser.add_argument("--images", type=int, default=400)
    parser.add_argument("--layers", action="store_true", help="only what all layers of a pass cost")
    parser.add_argument("--fits", type=int, default=1, help="fits of the plain pipeline that are measured")
    options = parser.parse_args(argv)
    print(line())
    with tempfile.TemporaryDirectory() as folder:
        os.environ["HYBRID_STORE"] = folder
        photos = Path(folder) / "photos"
        photos.mkdir()
        paths = np.array(jpegs(options.images, photos))
        y = np.arange(len(paths)) % 4
        weights = save_weights(folder)
        ResNetFeaturizer(weights=weights, store=None).fit_transform(paths[:2])
        if not options.layers:
            whole_search(paths, y, weights, options.fits)
        layers(paths, "resnet50", weights=weights)
        layers(paths, "efficientnet_lite0")


def whole_search(paths, y, weights, fits):
    plain = plain_seconds(paths, y, weights, fits)
    grid = {f"classifier__{key}": values for key, values in GRID.items()}
    search = GridSearchCV(build_pipeline(SVC(), weights=weights), grid, cv=FOLDS)
    cold = seconds(lambda: search.fit(paths, y))
    featurizer = ResNetFeaturizer(weights=weights)
    warm_transform = statistics.median(seconds(lambda: featurizer.fit_transform(paths)) for _ in range(5))
    cold_transform = seconds(lambda: featurizer.set_params(store=None).fit_transform(paths))
    features = ResNetFeaturizer(weights=weights).fit_transform(paths)
    ready = GridSearchCV(
        make_pipeline(StandardScaler(), SVC()), {f"svc__{k}": v for k, v in GRID.items()}, cv=FOLDS
    )
    warm_times, ready_times = [], []
    for _ in range(3):
        warm_times.append(seconds(lambda: search.fit(paths, y)))
        ready_times.append(seconds(lambda: ready.fit(features, y)))
    candidates = len(GRID["C"]) * len(GRID["gamma"])
    print(f"{len(paths)} images, {candidates} candidates x {FOLDS} folds, ResNet50 with seeded weights")
    print(
        f"  whole search, cold store: {plain / cold:.0f}x faster than the plain Pipeline ({fits} of its fits measured)"
    )
    print(f"  warm transform: {cold_transform / warm_transform:.0f}x faster than cold")
    ratio = statistics.median(warm / ready for warm, ready in zip(warm_times, ready_times, strict=True))
    print(f"  warm search: {ratio:.2f}x of the search on a ready feature matrix")
    print(f"  passes counted: {open_store('auto').stats()['passes']}")


def plain_seconds(paths, y, weights, fits):
    """The plain search's time, from `fits` of its fits and the refit."""
    pipeline = make_pipeline(KerasFeatures(weights), StandardScaler(), SVC())
    pipeline.fit(paths[:32], y[:32])
    split = len(paths) * (FOLDS - 1) // FOLDS
    train, test = slice(0, split), slice(split, None)
    one = [
        seconds(lambda: pipeline.fit(paths[train], y[train]).score(paths[test], y[test])) for _ in range(fits)
    ]
    candidates = len(GRID["C"]) * len(GRID["gamma"])
    return statistics.median(one) * (candidates * FOLDS + 1)


def layers(paths, name, **weights):
    """What a pass keeps of a network, against the one layer that is asked for: processor time and bytes."""
    asked = read_recipe(ResNetFeaturizer(name, **weights).get_params())
    images = np.concatenate([decode(read(path), asked.frame) for path in paths[:64]])

    def run(recipe):
        return list(recipe.open().run([images]))

    ratios = [processor_seconds(run, asked.whole) / processor_seconds(run, asked) for _ in range(ROUNDS)]
    alone = processor_seconds(embed, list(paths), asked, None)
    with tempfile.TemporaryDirectory() as folder:
        stored = processor_seconds(embed, list(paths), asked, FeatureStore(folder))
    kilobytes = 4 * sum(asked.whole.widths()) / 1000
    print(f"{name}, {asked.precision}: what a pass keeps takes {kilobytes:.0f} KB an image")
    # The first rounds open and warm the engines.
    print(
        f"  {statistics.median(ratios[2:]):.2f}x the processor time of the last layer alone in the network,"
    )
    print(f"  {stored / alone:.2f}x from files to rows, hashing and storing included")


def processor_seconds(run, *arguments):
    """What all threads took, however busy the machine is."""
    start = time.process_time()
    run(*arguments)
    return time.process_time() - start


def seconds(run):
    start = time.perf_counter()
    run()
    return time.perf_counter() - start
