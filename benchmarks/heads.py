"""Every scaler and head on the features of small sets of photographs: means, and the distance to each set's best."""

import argparse
from itertools import chain, product
from pathlib import Path

import numpy as np
import pandas as pd
from joblib import Parallel, cpu_count, delayed
from sklearn.pipeline import Pipeline

from benchmarks.machine import line
from benchmarks.photos import PHOTOGRAPHS
from hybrid import ResNetFeaturizer, load_folder
from hybrid.kinds import KINDS, SCALERS

RESULTS = Path(__file__).parent / "results"
FOLDERS = ["ants_bees", "caltech20", "dtd10", "wbc"]
DRAWS, DRAWN = ["cifar_1", "cifar_2"], 100
SIZES, SPLITS, SHARE = (5, 20, 60), 3, 0.75
LAYERS = {"stage4": ["stage4"], "last": ["last"], "both": ["stage4", "last"]}
HEADS = {
    "logistic": [{"C": C} for C in (0.1, 1, 10, 30, 100)],
    "svm": [{"C": C} for C in (0.1, 1, 10)],
    "rbf": [{"C": C, "gamma": gamma} for C in (1, 10) for gamma in ("scale", 0.25)],
}
CHOICES = {
    f"{scaler}, {name} " + " ".join(f"{key}={value}" for key, value in params.items()): (
        name,
        {"scaler": scaler} | params,
    )
    for scaler, (name, heads) in product(SCALERS, HEADS.items())
    for params in heads
}
DEFAULTS = [
    next(text for text, (one, params) in CHOICES.items() if one == name and params.items() <= default.items())
    for name, default in ((name, KINDS[name].default()) for name in HEADS)
]


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
    rows, y = [], y.astype(str)
    for text, (name, params) in CHOICES.items():
        model = Pipeline(KINDS[name].steps(KINDS[name].default() | params)).fit(features[train], y[train])
        rows.append((*cell, text, model.score(features[test], y[test])))
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
