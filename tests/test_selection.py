"""The race keeps the winner; what is chosen is chosen inside a training part."""

import numpy as np
import pytest

from hybrid.config import read_config
from hybrid.datasets.labelled import Labelled
from hybrid.experiment import views
from hybrid.experiment.candidates import left_out, read_candidates
from hybrid.experiment.crossval import cross_validate
from hybrid.experiment.prepare import outer_folds, prepare
from hybrid.experiment.selection import choose, in_the_race, validation_parts
from hybrid.experiment.views import look
from hybrid.statistics.intervals import corrected_ttest

LAYERS = ("stage1",), ("last",), ("stage1", "last")
ONE = {"cv": {"repeats": 1}}
CONFIG = {"features": {"backbone": "tiny", "layers": ["stage1", "last", ["stage1", "last"]]}}


def features(n, noise, seed, classes=4):
    """Two layers, of which the last tells more, and both together."""
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = rng.normal(size=(classes, 24))
    last = np.abs(centres[y] + noise * rng.normal(size=(n, 24))).astype(np.float32)
    stage = np.abs(centres[y] + 3 * noise * rng.normal(size=(n, 24))).astype(np.float32)
    found = dict(zip(LAYERS, (stage, last, np.hstack([stage, last])), strict=True))
    data = Labelled(list(range(n)), y.astype(str), np.arange(n))
    return data, {(layers, ("avg",)): X for layers, X in found.items()}


def race(data, matrices, settings):
    """Search with the race and in full: the choices agree, or their scores do; return the fits of both."""
    rows, found = np.arange(len(data)), {}
    split, _ = outer_folds(data, rows, read_config(settings | ONE))
    for raced in (True, False):
        config = read_config(settings | ONE | {"search": {"race": raced}})
        candidates = read_candidates(config, images=len(data))
        found[raced] = cross_validate(data, matrices, candidates, split, config, rows)
    if found[True].best != found[False].best or found[True].chosen != found[False].chosen:
        scores = [one.fold_scores()["accuracy"] for one in found.values()]
        difference, low, high, _ = corrected_ttest(*scores, *map(len, split[0]))
        assert low <= 0 <= high
        assert abs(difference) < 0.03
    return found[True].fits, found[False].fits


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("noise", [0.6, 1.2, 2.0])
def test_the_race_chooses_as_the_full_search_or_within_its_error(noise, seed):
    raced, full = race(*features(200, noise, seed), CONFIG)
    assert raced < full


@pytest.mark.parametrize("name", ["ants_bees", "caltech20", "dtd10", "wbc"])
def test_so_it_does_on_photographs(photographs, name):
    ready = prepare(str(photographs / name), [read_config()])
    raced, full = race(ready.data, ready.matrices[0], {})
    assert raced < full


def test_what_is_as_good_as_the_leader_stays_in_the_race():
    hits = np.random.default_rng(0).random((1, 50)) < 0.8
    assert in_the_race(np.repeat(hits, 3, axis=0), np.ones(3)).all()


def test_of_many_rows_some_are_searched_on(monkeypatch):
    monkeypatch.setattr(views, "COMPARED", 60)
    data, matrices = features(200, 1.0, 0)
    config = read_config(CONFIG)
    candidates = read_candidates(config)
    rows = np.arange(0, 200, 2)
    seen = look(matrices, data.y, candidates, rows, 0)
    assert len(seen.pool) == 60
    assert set(seen.pool) <= set(rows)
    assert set(np.unique(data.y[seen.pool], return_counts=True)[1]) <= {15, 30}
    assert 0 <= choose(data, seen, candidates, rows[:70], config)[0] < len(candidates)


def test_kernels_are_left_out_of_many_images_unless_asked_for():
    config = read_config(CONFIG)
    assert left_out(config, 1000) == []
    assert left_out(config, 20_000) == ["rbf"]
    assert {one.name for one in read_candidates(config, images=20_000)} == {"logistic"}
    asked = read_config(CONFIG | {"model": {"kind": "rbf"}})
    assert {one.name for one in read_candidates(asked, images=20_000)} == {"rbf"}


def test_validation_parts_lie_inside_the_training_part():
    data, _ = features(60, 1.0, 0)
    rows = np.arange(10, 50)
    for train, test in validation_parts(data, rows, read_config()):
        assert not set(train) & set(test)
        assert set(train) | set(test) <= set(rows)
