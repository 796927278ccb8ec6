"""A run that was stopped goes on with its finished folds; one that is done leaves nothing."""

import numpy as np
import pytest

from hybrid import FeatureStore
from hybrid.experiment import crossval, runs
from hybrid.experiment.runs import Run, open_run
from hybrid.experiment.train import train
from tests.test_train import QUICK, coloured

SEARCHED = QUICK | {"logistic": {"C": [0.1, 10]}}


@pytest.mark.parametrize("stop", [KeyboardInterrupt, MemoryError])
def test_a_stopped_run_goes_on_with_its_finished_folds(tmp_path, monkeypatch, stop):
    table, asked = coloured(10), []
    plain = train(table, SEARCHED, store=None)

    def choose(*arguments, work=crossval.choose):
        asked.append(None)
        if len(asked) == 3:
            raise stop
        return work(*arguments)

    monkeypatch.setattr(crossval, "at_once", lambda *_: 1)
    monkeypatch.setattr(crossval, "choose", choose)
    with pytest.raises(stop):
        train(table, SEARCHED, store=tmp_path)
    (folder,) = (tmp_path / "runs").iterdir()
    assert len(list(folder.glob("*.npz"))) == 2
    again = train(table, SEARCHED, store=tmp_path)
    # Of three folds and the final choice, two were there.
    assert len(asked) == 3 + 2
    assert again.passes == 0
    assert again.scores == plain.scores
    assert again.best == plain.best
    assert not list((tmp_path / "runs").iterdir())


def test_other_data_are_another_run(tmp_path):
    store = FeatureStore(tmp_path)
    X = np.zeros((3, 2))
    first = open_run(store, ["a", X])
    assert first.folder == open_run(store, ["a", X.copy()]).folder
    assert first.folder != open_run(store, ["a", X + 1]).folder
    assert first.folder != open_run(store, ["b", X]).folder
    assert open_run(None, ["a", X]).folder is None
    assert open_run(store, [np.array([object()])]).folder is None


def test_a_torn_part_is_computed_anew(tmp_path):
    run = Run(tmp_path)
    run.write("0", {"chosen": np.array(3)})
    assert run.read("0")["chosen"] == 3
    (tmp_path / "0.npz").write_bytes(b"PK\x03\x04 torn")
    assert run.read("0") is None
    assert run.remember("0", lambda: {"chosen": np.array(4)})["chosen"] == 4


def test_runs_that_were_never_finished_are_bounded(tmp_path):
    store = FeatureStore(tmp_path)
    for i in range(runs.MOST_RUNS + 5):
        open_run(store, [str(i)]).write("0", {"chosen": np.array(i)})
    assert len(list((tmp_path / "runs").iterdir())) <= runs.MOST_RUNS
