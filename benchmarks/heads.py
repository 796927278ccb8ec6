"""Every scaler and head on the features of small sets of photographs: means, and the distance to each set's best."""

import argparse
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import rbf_kernel
from sklearn.multiclass import OneVsRestClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import Normalizer, StandardScaler
from sklearn.svm import SVC

from benchmarks.machine import line
from benchmarks.photos import PHOTOGRAPHS
from hybrid import FeatureNormalizer, ResNetFeaturizer, load_folder

RESULTS = Path(__file__).parent / "results"
FOLDERS = ["ants_bees", "caltech20", "dtd10", "wbc"]
DRAWS, DRAWN = ["cifar_1", "cifar_2"], 100
SIZES, SPLITS, SHARE = (5, 20, 60), 3, 0.75
LAYERS = {"stage4": ["stage4"], "last": ["last"], "both": ["stage4", "last"]}
SCALERS = {
    "none": "passthrough",
    "standard": StandardScaler(),
    "l2": Normalizer(),
    "rows": FeatureNormalizer(columns=False),
    "columns": FeatureNormalizer(),
}


class Kernel(TransformerMixin, BaseEstimator):
    """Products with the training rows: an SVC on them answers as one on features does, much sooner."""

    def __init__(self, gamma="scale"):
        self.gamma = gamma

    def fit(self, X, y=None):
        self.rows_ = X
        self.gamma_ = 1 / (X.shape[1] * X.var()) if self.gamma == "scale" else self.gamma
        return self

    def transform(self, X):
        return rbf_kernel(X, self.rows_, gamma=self.gamma_)


def svm(C, gamma="scale", against=lambda svc: svc):
    return make_pipeline(Kernel(gamma), against(SVC(C=C, kernel="precomputed")))


def logistic(C):
    return LogisticRegression(C=C, max_iter=1000)


HEADS = {
    "svm C=1": svm(1),
    "svm C=10": svm(10),
    "svm C=10 gamma=0.25": svm(10, 0.25),
    "svm C=10 gamma=0.25 one-vs-rest": svm(10, 0.25, OneVsRestClassifier),
    "logistic C=0.1": logistic(0.1),
    "logistic C=1": logistic(1),
    "logistic C=30": logistic(30),
    "logistic C=100": logistic(100),
}
DEFAULTS = ["columns, svm C=10 gamma=0.25 one-vs-rest", "columns, logistic C=30"]


def main(argv):
    """Print one table, and keep it in benchmarks/results/."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks heads")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--splits", type=int, default=SPLITS)
    options = parser.parse_args(argv)
    machine, tasks = line(), []
    for name, images, y in sets():
        for layers, names in LAYERS.items():
            features = ResNetFeaturizer(options.backbone, layers=names).fit_transform(images)
            tasks += [
                ((name, layers, size), features, y, *split(y, size, seed))
                for size, seed in product(sizes(y), range(options.splits))
            ]
    tasks.sort(key=lambda task: len(task[-2]), reverse=True)
    found = Parallel(n_jobs=cpu_count())(delayed(score)(*task) for task in tasks)
    cells = pd.DataFrame(
        list(chain.from_iterable(found)), columns=["set", "layers", "size", "choice", "accuracy"]
    )
    text = "\n".join([machine, f"{options.backbone}, {options.splits} splits", *report(cells)])
    print(text)
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"heads_{options.backbone}.txt").write_text(text + "\n")


def sets():
    """Yield names, images and labels; draws of the large set share no image."""
    for name in FOLDERS:
        frame = load_folder(PHOTOGRAPHS / name)
        yield name, list(frame["image"]), frame["label"].to_numpy(str)
    frame = pd.read_parquet(PHOTOGRAPHS / "cifar20k.parquet").sample(frac=1, random_state=0)
    turn = frame.groupby("label").cumcount() // DRAWN
    for i, name in enumerate(DRAWS):
        drawn = frame[turn == i]
        yield name, list(drawn["image"]), drawn["label"].to_numpy().astype(str)


def sizes(y):
    """Return the sizes that at least half of the classes can give to training."""
    counts = np.unique(y, return_counts=True)[1]
    return [size for size in SIZES if np.mean(counts * SHARE >= size) >= 0.5]


def split(y, size, seed):
    """Draw so many images a class, three quarters of a small class; the rest is to test."""
    random, train = np.random.default_rng([seed, size]), []
    for label in np.unique(y):
        rows = random.permutation(np.flatnonzero(y == label))
        train.append(rows[: min(size, int(len(rows) * SHARE))])
    train = np.concatenate(train)
    return train, np.setdiff1d(np.arange(len(y)), train)


def score(cell, features, y, train, test):
    """Return the accuracy of every scaler with every head."""
    rows = []
    for (scaler, scale), (head, classifier) in product(SCALERS.items(), HEADS.items()):
        model = make_pipeline(scale, classifier).fit(features[train], y[train])
        rows.append((*cell, f"{scaler}, {head}", model.score(features[test], y[test])))
    return rows


def report(cells):
    """Yield the table's lines, then how far the defaults stay behind each set's best."""
    means = cells.groupby(["choice", "layers", "set", "size"])["accuracy"].mean()
    table = means.groupby(["choice", "layers"]).mean().unstack()[list(LAYERS)]
    by_set = means.groupby(["layers", "set", "choice"]).mean()
    gaps = by_set - by_set.groupby(["layers", "set"]).max()
    table["mean"] = table.mean(axis=1)
    table["worst"] = gaps.groupby("choice").min()
    yield "accuracy, mean over sets and sizes; worst: the largest distance to what is best on one set"
    yield table.sort_values("mean", ascending=False).round(3).to_string()
    for choice in DEFAULTS:
        yield f"{choice}: distance to each set's best"
        yield (
            gaps.xs(choice, level="choice").unstack()[FOLDERS + DRAWS].loc[list(LAYERS)].round(3).to_string()
        )
