"""A new kind of classifier is a section, an entry and a line in the config: everything else follows."""

import pytest
from sklearn.neighbors import NearestCentroid

import hybrid.config
from hybrid import build_pipeline
from hybrid.config import Config, read_config
from hybrid.experiment.candidates import read_candidates
from hybrid.experiment.compare import compare
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
    """The nearest centroid, as somebody would add it: it is fitted on its features as they are."""
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
