"""What stops, vanishes or is no file: others wait a while, say so once, and go on by themselves."""

import os
import re
import shutil
import signal
import sqlite3
import time
import warnings
from contextlib import contextmanager

import numpy as np
import pytest
from stores import check, child, in_child, needs_fork, put

from hybrid import ResNetFeaturizer
from hybrid.features import embed
from hybrid.store import database, run
from hybrid.store.feature_store import FeatureStore

pytestmark = needs_fork
IMAGES = np.random.default_rng(0).integers(0, 256, (6, 16, 16, 3), np.uint8)


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


def file_of(store):
    return store.path / "features.sqlite"


@contextmanager
def told(*patterns):
    """Exactly these warnings, in any order."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    said = [str(warning.message) for warning in caught]
    assert len(said) == len(patterns), said
    assert all(any(pattern in one for one in said) for pattern in patterns), said


@contextmanager
def stopped_while_computing(folder):
    """Another process that claimed all images, and was suspended before it had any of them."""

    def compute(pipe):
        original = embed.Pass.decoded

        def stop(self, jobs):
            jobs = list(jobs)
            pipe.send("claimed")
            os.kill(os.getpid(), signal.SIGSTOP)
            yield from original(self, jobs)

        embed.Pass.decoded = stop
        ResNetFeaturizer("tiny", store=folder).fit_transform(IMAGES)

    with child(compute) as (process, pipe):
        assert pipe.poll(60)
        assert pipe.recv() == "claimed"
        os.waitpid(process.pid, os.WUNTRACED)
        yield process


def test_a_suspended_process_no_longer_makes_others_wait_for_ever(folder, monkeypatch):
    monkeypatch.setattr(run, "PATIENCE", 0.5)
    right = ResNetFeaturizer("tiny", store=None).fit_transform(IMAGES)
    with stopped_while_computing(folder):
        start = time.monotonic()
        with told("Is it suspended? Computing that here as well"):
            found = ResNetFeaturizer("tiny", store=folder).fit_transform(IMAGES)
        assert 0.5 < time.monotonic() - start < 20
        np.testing.assert_array_equal(found, right)
        start = time.monotonic()
        with told():
            ResNetFeaturizer("tiny", store=folder).fit_transform(IMAGES)
            ResNetFeaturizer("tiny", store=folder, views=2).fit_transform(IMAGES)
        assert time.monotonic() - start < 20
    assert FeatureStore(folder).verify()["damaged"] == 0


def test_what_others_compute_is_waited_for_while_it_comes(folder, monkeypatch):
    monkeypatch.setattr(run, "PATIENCE", 20.0)
    with stopped_while_computing(folder) as process:
        os.kill(process.pid, signal.SIGCONT)
        with told():
            ResNetFeaturizer("tiny", store=folder).fit_transform(IMAGES)
        process.join(30)
    assert FeatureStore(folder).stats()["passes"] == len(IMAGES)


def test_a_foreign_lock_on_every_lease_is_waited_for_no_longer_than_a_while(folder, monkeypatch):
    monkeypatch.setattr(run, "PATIENCE", 0.3)
    monkeypatch.setattr(database, "PATIENCE", 0.3)
    put(FeatureStore(folder), range(3))

    def lock(pipe):
        import fcntl

        with open(folder / "features.lock", "r+b") as file:
            fcntl.lockf(file, fcntl.LOCK_EX)
            pipe.send("locked")
            pipe.recv()

    with child(lock) as (_, pipe):
        assert pipe.recv() == "locked"
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            rows = ResNetFeaturizer("tiny", store=folder).fit_transform(IMAGES)
    assert np.isfinite(rows).all()
    assert 1 <= len(caught) <= 2, [str(one.message) for one in caught]


# What SQLite says of a damaged schema quotes it, and that need not be text.


def spoiled(store, old, new):
    """Write over a part of the file, in a process that holds none of its locks."""
    store.close()
    content = file_of(store).read_bytes()
    assert content.count(old)

    def write():
        with open(file_of(store), "r+b") as file:
            file.seek(content.index(old))
            file.write(new)

    in_child(write)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"CREATE TABLE rows", b"CREATE T\xffBLE rows"),
        (b"CREATE TABLE rows", b"CREATE TABLE \xffows"),
        (b"id INTEGER PRIMARY KEY, recipe", b"\xffd INTEGER PRIMARY KEY, recipe"),
        (b"checksum INTEGER, value", b"che\xfe\xffsum INTEGER, value"),
        (b"CREATE TABLE counters", b"CREATE TABLE kounters"),
    ],
)
def test_a_damaged_schema_no_longer_ends_every_call_in_an_error_but_is_set_aside(folder, old, new):
    store = FeatureStore(folder)
    put(store, range(20))
    spoiled(store, old, new)
    with told("It was set aside as"):
        check(store, range(20))
        store.stats()
        assert put(store, range(30))
    assert check(store, range(30)).all()
    assert len(list(folder.glob("features.damaged-*.sqlite"))) == 1


def test_rows_that_vanish_as_they_are_written_are_damage(folder):
    """A damaged index swallowed a recipe, and `put` ended in a TypeError."""
    store = FeatureStore(folder)
    put(store, range(3))
    store.close()

    def spoil():
        connection = sqlite3.connect(file_of(store), isolation_level=None)
        connection.execute("DELETE FROM recipes")
        connection.execute("CREATE TRIGGER swallow AFTER INSERT ON recipes BEGIN DELETE FROM recipes; END")

    in_child(spoil)
    with told("It was set aside as"):
        put(store, range(3))
    assert check(store, range(3)).all()


def test_a_folder_removed_during_a_run_is_told_once_and_made_again(folder):
    store = FeatureStore(folder)
    put(store, range(10))
    with told("is gone: it was removed"):
        for _ in range(3):
            shutil.rmtree(folder)
            assert not check(store, range(10)).any()
            assert put(store, range(10))
            assert check(store, range(10)).all()


REPLACEMENTS = {"folder": os.mkdir, "pipe": os.mkfifo, "zeros": lambda path: os.symlink("/dev/zero", path)}


@pytest.mark.parametrize("kind", REPLACEMENTS)
@pytest.mark.parametrize("suffix", [".sqlite", ".sqlite-wal", ".sqlite-shm", ".sqlite-journal", ".lock"])
def test_a_folder_or_pipe_in_the_place_of_a_file_is_told_once_and_gone_without(folder, kind, suffix):
    """SQLite waits for ever for the other end of a pipe: hence in a process of its own."""
    store = FeatureStore(folder)
    put(store, range(10))
    store.close()

    def use():
        put(store, range(10))
        if suffix != ".sqlite":
            store.close()
        place = f"{folder / 'features'}{suffix}"
        if os.path.exists(place):
            os.remove(place)
        REPLACEMENTS[kind](place)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            for _ in range(3):
                check(store, range(10))
                put(store, range(10, 20))
                store.stats()
                store.verify()
                ResNetFeaturizer("tiny", store=store).fit_transform(IMAGES)
            store.close()
        return [str(one.message) for one in caught]

    (said,) = in_child(use)
    assert re.search("is no regular file|Is a directory", said)
