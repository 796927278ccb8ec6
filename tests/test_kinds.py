"""A new kind of classifier is a section, an entry and a line in the config: everything else follows."""

import numpy as np
import pytest
from sklearn.neighbors import NearestCentroid

import hybrid.config
from hybrid import build_pipeline
from hybrid.config import Config, read_config
from hybrid.experiment.candidates import read_candidates
from hybrid.experiment.compare import compare
from hybrid.experiment.selection import turned
from hybrid.experiment.train import train
from hybrid.fields import Numbers, Section
from hybrid.kinds import KINDS, Kind, Scalers
from tests.test_train import QUICK, coloured, quick


class Centroid(Section):
    scaler: Scalers = ("l2", "none")
    shrink_threshold: Numbers = (0.1, 0.5)


class Wider(Config):
    centroid: Centroid = Centroid()


@pytest.fixture
def with_centroids(monkeypatch):
    """The nearest centroid, as somebody would add it: it shrinks along the axes, which must not be turned."""
    entry = Kind(Centroid, NearestCentroid, searched=("scaler", "shrink_threshold"), needs_calibration=True)
    monkeypatch.setitem(KINDS, "centroid", entry)
    monkeypatch.setattr(hybrid.config, "Config", Wider)


@pytest.mark.usefixtures("with_centroids")
def test_a_new_kind_is_searched_scored_compared_and_built():
    table = coloured()
    outcome = train(table, quick(model={"kind": "centroid"}, curve={"on": True}))
    assert outcome.best["model"] == "centroid"
    assert outcome.best["scaler"] in ("l2", "none")
    assert outcome.scores["accuracy"]["mean"] > 0.9
    assert outcome.curve["sizes"]
    pipeline = build_pipeline("centroid", backbone="tiny")
    assert pipeline["classifier"].shrink_threshold == 0.1
    found = compare(table, {"centroid": quick(model={"kind": "centroid"}), "logistic": QUICK})
    assert {model["best"]["model"] for model in found.models} == {"centroid", "logistic"}


@pytest.mark.usefixtures("with_centroids")
def test_a_new_kind_is_known_to_the_config_and_its_errors():
    config = read_config({"model": {"kind": "centroid"}, "features": {"layers": "last"}})
    assert len(read_candidates(config)) == 4
    with pytest.raises(ValueError, match="expected 'auto', 'logistic', 'svm', 'rbf', 'finetune', 'centroid'"):
        read_config(None, ["model.kind=centre"])
    with pytest.raises(ValueError, match=r"Did you mean 'centroid\.shrink_threshold'"):
        read_config(None, ["centroid.shrink=1"])


@pytest.mark.parametrize("name", [name for name, kind in KINDS.items() if kind.turned])
def test_what_may_be_turned_answers_the_same_on_other_axes(name):
    rng = np.random.default_rng(0)
    y = np.arange(40) % 3
    X, T = rng.normal(size=(40, 90)) + y[:, None] * 0.3, rng.normal(size=(60, 90)) + 0.3
    # Rows about as long as normalised ones.
    X, T, kind = X / 10, T / 10, KINDS[name]
    plain = kind.build(kind.default()).fit(X, y)
    there, test = turned(X, T)
    other = kind.build(kind.turned(kind.default(), X)).fit(there, y)
    assert there.shape == (40, 41)
    np.testing.assert_allclose(other.decision_function(test), plain.decision_function(T), atol=2e-3)


def test_what_sees_axes_is_not_turned(with_centroids):
    assert KINDS["centroid"].turned is None
    assert KINDS["finetune"].turned is None
