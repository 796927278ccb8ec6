"""What a process read last of files, and when it must look again."""

import os

import numpy as np
import pytest
from PIL import Image

from hybrid import FeatureStore, ResNetFeaturizer
from hybrid.store import memory


@pytest.fixture
def files(tmp_path):
    """Files that rest: written a minute ago."""
    paths = []
    for i, pixels in enumerate(np.random.default_rng(0).integers(0, 256, (6, 32, 32, 3), dtype=np.uint8)):
        paths.append(str(tmp_path / f"{i}.png"))
        Image.fromarray(pixels).save(paths[-1])
        rest(paths[-1])
    return paths


def rest(path):
    before = os.stat(path).st_mtime - 60
    os.utime(path, (before, before))


@pytest.fixture
def featurizer(tmp_path):
    return ResNetFeaturizer("tiny", store=tmp_path / "store")


def read_rows(monkeypatch):
    """Count what is read from the database."""
    asked, get = [], FeatureStore.get
    monkeypatch.setattr(
        FeatureStore, "get", lambda *args, **options: asked.append(1) or get(*args, **options)
    )
    return asked


def test_files_seen_before_cost_no_look_up(files, featurizer, monkeypatch):
    expected = featurizer.fit_transform(files)
    asked = read_rows(monkeypatch)
    assert np.array_equal(featurizer.transform(files[::-1]), expected[::-1])
    assert not asked
    assert FeatureStore(featurizer.store).stats()["hits"] == len(files)


def test_rows_are_the_callers_to_change(files, featurizer):
    expected = featurizer.fit_transform(files).copy()
    featurizer.transform(files)[:] = 0
    assert np.array_equal(featurizer.transform(files), expected)


def test_a_changed_file_is_read_again(files, featurizer):
    before = featurizer.fit_transform(files)
    Image.new("RGB", (32, 32), "red").save(files[2])
    rest(files[2])
    after = featurizer.transform(files)
    assert [i for i in range(6) if not np.array_equal(before[i], after[i])] == [2]


def test_a_file_written_just_now_is_not_trusted(files, featurizer, monkeypatch):
    Image.new("RGB", (32, 32), "red").save(files[2])
    featurizer.fit_transform(files)
    asked = read_rows(monkeypatch)
    featurizer.transform(files)
    assert asked


def test_another_recipe_has_other_rows(files, featurizer):
    assert (
        featurizer.fit_transform(files).shape != featurizer.set_params(layers="stage1").transform(files).shape
    )


def test_clearing_the_store_forgets(files, featurizer):
    featurizer.fit_transform(files)
    store = FeatureStore(featurizer.store)
    store.clear()
    featurizer.transform(files)
    assert store.stats()["passes"] == 12


def test_it_stays_within_its_limit(monkeypatch):
    monkeypatch.setattr(memory, "LIMIT", 4 * 8 * 4)
    kept, rows = memory.Memory(), np.arange(48, dtype=np.float32).reshape(6, 8)
    kept.keep("recipe", ["a", "b", "c"], rows[:3])
    kept.keep("recipe", ["d", "e"], rows[3:5])
    assert kept.get("recipe", ["a"]) is None
    assert np.array_equal(kept.get("recipe", ["e", "d"]), rows[[4, 3]])
    kept.keep("recipe", list("uvwxyz"), rows)
    assert kept.get("recipe", ["z"]) is None
