"""`hybrid train` against one pass of its network, and against scikit-learn's own nested search."""

import argparse
import resource
import tempfile
import time

import numpy as np
import pandas as pd
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.svm import SVC

from benchmarks.machine import line
from benchmarks.photos import PHOTOGRAPHS
from hybrid import FeatureNormalizer, FeatureStore, ResNetFeaturizer, load_folder, load_sample
from hybrid.config import read_config
from hybrid.experiment.candidates import fit_quick, read_candidates
from hybrid.experiment.crossval import cross_validate
from hybrid.experiment.plan import plan
from hybrid.experiment.prepare import outer_folds, prepare
from hybrid.experiment.train import train
from hybrid.statistics.intervals import corrected_ttest

SIZES, ALLOWED, SECONDS = (500, 3000, 20_000), 2.0, 5.0
GRIDS = (
    (LogisticRegression(max_iter=1000), {"logisticregression__C": [30, 3, 300]}),
    (SVC(gamma=0.25), {"svc__C": [10]}),
)
DRAWS, EACH = 100, 15
TOLD = ("ants_bees", "caltech20", "dtd10", "wbc", 200, 500, 1000, 1500, 2000, 3000)


def main(argv):
    """Print times, ratios and memory."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks train")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument(
        "--beside", type=int, default=3000, help="images for scikit-learn's own search; 0: none"
    )
    parser.add_argument("--cover", action="store_true", help="only how often intervals cover, on 100 draws")
    parser.add_argument(
        "--plan", action="store_true", help="only how well the plan tells the time, ten times"
    )
    options = parser.parse_args(argv)
    print(line())
    if options.cover:
        return cover()
    if options.plan:
        return foretold()
    ResNetFeaturizer("efficientnet_lite0", store=None).fit_transform(pictures(2)["image"])
    spent = {n: against_a_pass(n) for n in options.sizes}
    if {3000, 20_000} <= set(spent):
        print(f"from 3,000 to 20,000 images: {spent[20_000] / spent[3000]:.1f}x (at most 1.2 x 6.7 = 8.0)")
    if options.beside:
        beside(options.beside)


def pictures(n):
    """Small photographs of ten classes, or the sample's drawn ones."""
    file = PHOTOGRAPHS / "cifar20k.parquet"
    if file.exists():
        return pd.read_parquet(file).sample(n, random_state=0).reset_index(drop=True)
    return load_sample(n_per_class=-(-n // 10)).sample(n, random_state=0).reset_index(drop=True)


def against_a_pass(n):
    """Print what training takes, in passes of its network; return its seconds."""
    frame = pictures(n)
    with tempfile.TemporaryDirectory() as cold, tempfile.TemporaryDirectory() as other:
        start = time.perf_counter()
        ResNetFeaturizer("efficientnet_lite0", store=FeatureStore(cold)).fit_transform(frame["image"])
        seen = time.perf_counter() - start
        start = time.perf_counter()
        outcome = train(frame, store=FeatureStore(other))
        whole = time.perf_counter() - start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    ratio = (whole - SECONDS) / seen
    print(
        f"{n:,} images: seen in {seen:.1f} s, trained in {whole:.1f} s: {ratio:.2f}x less {SECONDS:.0f} s "
        f"(at most {ALLOWED}); {outcome.fits} fits, accuracy {outcome.scores['accuracy']['mean']:.3f}, "
        f"peak {peak:.2f} GB",
        flush=True,
    )
    return whole


def foretold():
    """Print the time that the plan tells over the time that training takes, network and all."""
    right = 0
    for name in TOLD:
        frame = pictures(name) if isinstance(name, int) else load_folder(PHOTOGRAPHS / name)
        with tempfile.TemporaryDirectory() as folder:
            start = time.perf_counter()
            told = plan(frame, store=FeatureStore(folder))
            planned = time.perf_counter()
            train(frame, store=FeatureStore(folder))
            spent = time.perf_counter() - planned
        ratio = (told.seconds + told.search) / spent
        right += abs(ratio - 1) <= 0.3
        print(f"{name}: {ratio:.2f} of {spent:.0f} s ({told.seconds:.0f} s network, {told.search:.0f} s search; "
              f"planned in {planned - start:.1f} s)", flush=True)  # fmt: skip
    print(f"{right} of {len(TOLD)} within 30 %")


def beside(n):
    """Print the search with and without its race, and scikit-learn's own on the ready matrix."""
    config = read_config()
    ready = prepare(pictures(n), [config])
    folds, _ = outer_folds(ready.data, ready.train, config)
    candidates, found = read_candidates(config, images=n), {}
    spent = []
    for race in (True, False):
        rules = read_config(config, [f"search.race={str(race).lower()}"])
        start = time.perf_counter()
        found[race] = cross_validate(ready.data, ready.matrices[0], candidates, folds, rules, ready.train)
        seconds = time.perf_counter() - start
        best, accuracy = found[race].best, found[race].scores()["accuracy"]["mean"]
        print(f"search {'raced' if race else 'in full'}: {seconds:.1f} s, {found[race].fits} fits, "
              f"accuracy {accuracy:.4f}, best {best.to_dict()}", flush=True)  # fmt: skip
        spent.append(seconds)
    scores = [one.fold_scores()["accuracy"] for one in found.values()]
    difference, low, high, _ = corrected_ttest(*scores, *map(len, folds[0]))
    print(f"  raced less full: {difference:.4f} ({low:.4f} to {high:.4f})")
    start = time.perf_counter()
    train_rows, test_rows = folds[0]
    y = ready.data.y
    for X in ready.matrices[0].values():
        for model, grid in GRIDS:
            search = GridSearchCV(make_pipeline(FeatureNormalizer(), model), grid, cv=3, n_jobs=-1)
            search.fit(X[train_rows], y[train_rows]).score(X[test_rows], y[test_rows])
    theirs = (time.perf_counter() - start) * (len(folds) + 1)
    print(f"scikit-learn's nested search: {theirs:.0f} s (one of {len(folds) + 1} parts measured), "
          f"{theirs / spent[0]:.1f}x of ours")  # fmt: skip


def cover():
    """Print how often the interval of a few images holds what their models score on all others."""
    frame = pictures(20_000)
    config = read_config({"curve": {"on": False}, "cv": {"baselines": False}})
    ready = prepare(frame, [config])
    y, held = ready.data.y, 0
    candidates = read_candidates(config)
    for seed in range(DRAWS):
        rng = np.random.default_rng(seed)
        rows = np.concatenate([rng.choice(np.flatnonzero(y == label), EACH, False) for label in np.unique(y)])
        folds, _ = outer_folds(ready.data, rows, config)
        found = cross_validate(ready.data, ready.matrices[0], candidates, folds, config)
        score, truth = found.scores()["accuracy"], []
        rest = rng.choice(np.setdiff1d(np.arange(len(y)), rows), 3000, False)
        for chosen, (part, _) in zip(found.chosen[:5], folds[:5], strict=True):
            X = ready.matrices[0][chosen.setting]
            model = fit_quick(chosen, config, X[part], y[part], None, False)
            truth.append(np.mean(model.predict(X[rest]) == y[rest]))
        held += score["low"] <= np.mean(truth) <= score["high"]
        print(f"{held} of {seed + 1} intervals cover", end="\r", flush=True)
    print(f"{held} of {DRAWS} intervals cover (at least 93)")
