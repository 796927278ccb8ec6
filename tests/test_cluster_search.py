"""Searches on a real cluster of two worker processes: the answers are those of one process, kills or not."""

import json
import os
import signal
from pathlib import Path

import certificates
import numpy as np
import pytest
from joblib import parallel_config
from PIL import Image
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.model_selection import GridSearchCV
from typer.testing import CliRunner

from hybrid import FeatureStore, build_pipeline, load_sample
from hybrid.cli import app
from hybrid.cluster import searching, share
from hybrid.cluster.client import connected
from hybrid.experiment import crossval
from hybrid.experiment.train import train

GRID = {"featurizer__layers": ["stage2", "last"], "classifier__C": [1, 30]}
CONFIG = {"features": {"backbone": "tiny"}, "model": {"kind": "logistic"}, "cv": {"folds": 3}}


@pytest.fixture(scope="module")
def client(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        files = certificates.make(tmp_path_factory.mktemp("tls") / "own")
        for variable, file in files.items():
            patch.setenv(variable, file)
        running = certificates.cluster(files, workers=2)
        with running as cluster, connected(scheduler=cluster.scheduler_address) as client:
            client.wait_for_workers(2)
            yield client


@pytest.fixture(scope="module")
def sample():
    return load_sample(n_per_class=8)


@pytest.fixture
def files(sample, tmp_path):
    """The sample in a folder, for workers to read, and its labels."""
    paths = []
    for i, (image, label) in enumerate(zip(sample["image"], sample["label"], strict=True)):
        path = tmp_path / "photos" / label / f"{i}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        os.utime(path, (1e9, 1e9))
        paths.append(str(path))
    return np.array(paths, object), sample["label"].to_numpy()


def search(store="auto", *steps):
    pipeline = build_pipeline(backbone="tiny", store=store)
    pipeline.steps[1:1] = steps
    return GridSearchCV(pipeline, GRID, cv=3)


def outcome(found):
    return found.best_params_, found.best_score_, found.cv_results_["mean_test_score"].tolist()


def passes(store=None):
    return FeatureStore(store).stats()["passes"]


def on_cluster(client, found, images, labels):
    with searching(client):
        return found.fit(images, labels)


def move_home(client, worker, store):
    """Give a worker another store; return which it had."""

    def move():
        before, os.environ["HYBRID_STORE"] = os.environ["HYBRID_STORE"], store
        return before

    return client.run(move, workers=[worker])[worker]


class Deadly(TransformerMixin, BaseEstimator):
    """A step that kills these processes, as kill -9 does, when they come to it."""

    def __init__(self, pids=()):
        self.pids = pids

    def fit(self, X, y=None):
        """Do it."""
        if os.getpid() in self.pids:
            os.kill(os.getpid(), signal.SIGKILL)
        return self

    def transform(self, X):
        """Change nothing."""
        return X


def deadly(function, pids):
    """Kill these processes when they call a function."""

    def call(*args):
        Deadly(pids).fit(args)
        return function(*args)

    return call


def test_a_search_is_the_same_on_a_cluster_in_processes_and_alone(client, files, tmp_path):
    store = str(tmp_path / "store")
    alone = search(store).fit(*files)
    with parallel_config("loky", n_jobs=2):
        assert outcome(search(store).fit(*files)) == outcome(alone)
    assert outcome(on_cluster(client, search(store), *files)) == outcome(alone)
    with client.as_current(), parallel_config("dask"):
        assert outcome(search(store).fit(*files)) == outcome(alone)
    assert passes(store) == len(files[0])


def test_workers_find_the_features_in_stores_of_their_own(client, files, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path / "here"))
    stores = {worker: str(tmp_path / f"there{i}") for i, worker in enumerate(client.ncores())}
    before = {worker: move_home(client, worker, store) for worker, store in stores.items()}
    assert share(client, search(), files[0]) == passes() == len(files[0])
    assert share(client, search(), files[0]) == 0
    found = on_cluster(client, search(), *files)
    for worker, store in before.items():
        move_home(client, worker, store)
    assert outcome(found) == outcome(search().fit(*files))
    assert passes() == len(files[0])
    held = [FeatureStore(store).stats() for store in stores.values()]
    assert [one["passes"] for one in held] == [0, 0]
    assert [one["rows"] for one in held] == [2 * len(files[0])] * 2


def test_killed_workers_cost_their_tasks_and_not_the_search(client, files, tmp_path):
    store, pids = str(tmp_path / "store"), list(client.run(os.getpid).values())
    alone = search(store, ("deadly", Deadly())).fit(*files)
    found = on_cluster(client, search(store, ("deadly", Deadly(pids))), *files)
    client.wait_for_workers(2, timeout=60)
    assert not set(client.run(os.getpid).values()) & set(pids)
    assert outcome(found) == outcome(alone)
    assert passes(store) == len(files[0])


def test_train_on_a_scheduler_finds_what_it_finds_here(client, files, tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path / "store"))
    folder = str(Path(files[0][0]).parents[1])
    call = ["train", folder, "--json", "--backbone", "tiny", "--set", "cv.folds=3", "--set", "curve.on=false"]
    here, there = (
        CliRunner().invoke(app, [*call, *more]) for more in ([], ["--scheduler", client.scheduler.address])
    )
    assert here.exit_code == there.exit_code == 0, there.output
    here, there = (json.loads(one.stdout) for one in (here, there))
    timed = {"seconds", "passes"}
    assert {key: here[key] for key in here.keys() - timed} == {
        key: there[key] for key in there.keys() - timed
    }
    assert passes() == len(files[0])


def test_a_killed_worker_costs_train_its_parts(client, sample, tmp_path, monkeypatch):
    alone = train(sample, CONFIG, store=str(tmp_path))
    pids = list(client.run(os.getpid).values())[:1]
    monkeypatch.setattr(crossval, "choose", deadly(crossval.choose, pids))
    with searching(client):
        found = train(sample, CONFIG, store=str(tmp_path))
    client.wait_for_workers(2, timeout=60)
    assert pids[0] not in client.run(os.getpid).values()
    assert found.scores == alone.scores
    assert found.best == alone.best
