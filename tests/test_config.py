"""Experiment files: every one in configs/ is right, and what is wrong is named with its way out."""

import os
import re
import tomllib
from pathlib import Path

import pytest
from pydantic import ValidationError

from hybrid.config import Config, read_config
from hybrid.experiment.candidates import read_candidates

CONFIGS = sorted((Path(__file__).resolve().parents[1] / "configs").glob("*.toml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_experiment_file_is_valid_and_begins_with_a_comment(path):
    config = read_config(path)
    assert read_candidates(config)
    assert config.features.backbone == ("resnet50" if path.stem == "resnet50" else "efficientnet_lite0")
    assert path.read_text().startswith("# ")


def test_the_experiments_that_are_promised_are_there():
    promised = {"svm", "rbf", "logistic", "resnet50", "quick", "layers", "paper", "imbalanced"}
    assert promised <= {path.stem for path in CONFIGS}


def test_the_linear_probe_searches_45_values_of_C_on_a_split():
    config = read_config(next(path for path in CONFIGS if path.stem == "paper"))
    C = config.logistic.C
    assert len(C) == 45
    assert C[0] == 1e-6
    assert C[-1] == pytest.approx(1e5)
    assert C[1] / C[0] == pytest.approx(C[-1] / C[-2])
    assert config.search.validation == "split"


def test_nothing_given_is_the_default():
    assert read_config() == Config() == read_config({}) == read_config(Config())


def test_the_backbone_is_one_word_away():
    assert read_config(CONFIGS[0], ["features.backbone=resnet50"]).features.backbone == "resnet50"


@pytest.mark.parametrize(
    ("override", "section", "key", "expected"),
    [
        ("svm.C=10", "svm", "C", (10.0,)),
        ("svm.C = [1, 10]", "svm", "C", (1.0, 10.0)),
        ("rbf.gamma=['scale', 0.01]", "rbf", "gamma", ("scale", 0.01)),
        ("model.kind=svm", "model", "kind", "svm"),
        ("cv.keep_duplicates_together=false", "cv", "keep_duplicates_together", False),
        ("features.layers=last", "features", "layers", (("last",),)),
        (
            "features.layers=['last', ['stage4', 'last']]",
            "features",
            "layers",
            (("last",), ("stage4", "last")),
        ),
        ("features.image_size=[100, 200]", "features", "image_size", (100, 200)),
        ("features.image_size=96", "features", "image_size", (96, 96)),
        ("features.weights=none", "features", "weights", None),
        ("features.weights=/data/w=1.h5", "features", "weights", "/data/w=1.h5"),
        ("logistic.C={low=1, high=100, n=3}", "logistic", "C", (1.0, 10.0, 100.0)),
    ],
)
def test_every_value_can_be_set_by_hand(override, section, key, expected):
    assert getattr(getattr(read_config(None, [override]), section), key) == expected


def test_later_overrides_win_and_the_source_is_left_alone():
    source = {"svm": {"C": 3}}
    config = read_config(source, ["svm.C=1", "svm.C=2", "seed=7"])
    assert (config.svm.C, config.seed) == ((2.0,), 7)
    assert source == {"svm": {"C": 3}}


def test_a_config_is_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        read_config().svm.C = (1.0,)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("svm.c=10", "Got svm.c=10 on the command line, but there is no such key. Did you mean 'svm.C'?"),
        ("C=10", "Did you mean 'logistic.C' or 'svm.C' or 'rbf.C'?"),
        ("sed=1", "Did you mean 'seed'?"),
        ("cv.fold=3", "Did you mean 'cv.folds'?"),
        ("zzz=1", "The keys: seed, data, "),
        ("model.kind=svn", "Got model.kind='svn' on the command line, but expected 'auto', 'logistic',"),
        ("svm.C=0", "Got svm.C=0 on the command line, but expected a value greater than 0."),
        ("svm.C=ten", "Got svm.C='ten' on the command line, but expected a valid number."),
        ("svm.C=[]", "expected one value, or a list of different ones."),
        ("svm.C=[1, 1]", "expected one value, or a list of different ones."),
        ("svm.C=true", "expected a valid number."),
        ("rbf.gamma=scal", "expected 'scale', 'auto' or a number above 0."),
        ("logistic.C={low=1, high=0.1, n=3}", "expected 0 < low < high, and n from 2 to 1000."),
        ("features.image_size=-3", "expected None, a positive integer or (height, width)."),
        ("cv.folds=1", "expected a value greater than or equal to 2."),
        ("cv.folds=2.5", "expected a valid integer."),
        ("cv=5", "expected a section, with keys of its own."),
        ("svm.C", "Got 'svm.C', but expected key=value, such as svm.C=10."),
        ("seed.x=1", "Got seed={'x': 1}"),
    ],
)
def test_what_is_wrong_is_named_with_a_way_out(override, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        read_config(None, [override])


def test_all_that_is_wrong_is_named_at_once_with_the_file(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("[svm]\nc = 1\nscaler = 'standart'\n[cv]\nfolds = 0\n")
    with pytest.raises(ValueError, match=r"svm\.c=1") as caught:
        read_config(path)
    assert all(
        word in str(caught.value) for word in (str(path), "'svm.C'", "Did you mean 'standard'?", "cv.folds=0")
    )


def test_a_file_that_is_absent_or_no_toml_is_named(tmp_path):
    (tmp_path / "svm.toml").write_text("[svm\n")
    with pytest.raises(ValueError, match=r"smv\.toml.*Did you mean 'svm\.toml'"):
        read_config(tmp_path / "smv.toml")
    with pytest.raises(ValueError, match="as TOML"):
        read_config(tmp_path / "svm.toml")
    with pytest.raises(TypeError, match=r"expected a \.toml file"):
        read_config(3)


def test_more_candidates_than_max_fits_are_refused_with_the_number_to_set():
    config = read_config(None, ["svm.C=[1,2,3,4,5,6,7,8,9,10,11]", "model.kind=svm"])
    with pytest.raises(ValueError, match=r"33 candidates x 3 folds = 99 fits .* set search\.max_fits=99"):
        read_candidates(config)
    assert len(read_candidates(read_config(config, ["search.max_fits=99"]))) == 33


def test_an_experiment_file_survives_toml(tmp_path):
    for path in CONFIGS:
        assert read_config(tomllib.loads(path.read_text())) == read_config(path)


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir], ids=["pipe", "folder"])
def test_what_is_no_regular_file_is_no_config_and_not_waited_for(tmp_path, make):
    make(tmp_path / "c.toml")
    with pytest.raises(ValueError, match="which is no regular file, but expected"):
        read_config(tmp_path / "c.toml")
