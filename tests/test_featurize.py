"""A table of images in, a file of their features out."""

import os
import sys

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from hybrid import ResNetFeaturizer
from hybrid.datasets.tables import load_table
from hybrid.tasks import featurize
from hybrid.tasks.featurize import write_features

SUFFIXES = [".csv", ".parquet"]


@pytest.fixture
def frame(tmp_path):
    """Two images, one of whose names is not UTF-8, with labels that a spreadsheet would run."""
    if sys.platform != "linux":
        pytest.skip("other systems refuse such names")
    paths = [os.fsdecode(os.fsencode(tmp_path) + name) for name in (b"/caf\xe9.png", b"/a.png")]
    for i, path in enumerate(paths):
        Image.fromarray(np.full((16, 16, 3), 40 * i, np.uint8)).save(path)
    return pd.DataFrame({"image": paths, "label": ["=cmd()", "-1"]}, dtype=object)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_names_that_are_not_utf_8_are_written_and_found_again(frame, tmp_path, suffix):
    out = tmp_path / f"out{suffix}"
    assert write_features(frame, out, ResNetFeaturizer("tiny"))["rows"] == 2
    table = pd.read_csv(out) if suffix == ".csv" else pd.read_parquet(out)
    assert table["path"].str.endswith(r"caf\xe9.png").tolist() == [True, False]
    assert table["label"].tolist() == ["'=cmd()" if suffix == ".csv" else "=cmd()", "-1"]
    assert table.filter(like="last_avg").shape == (2, 64)
    pd.testing.assert_frame_equal(load_table(out)[["image", "label"]].astype(object), frame)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_of_a_file_that_fails_half_way_nothing_stays(frame, tmp_path, monkeypatch, suffix):
    monkeypatch.setattr(featurize, "ROWS", 1)
    os.truncate(frame["image"][1], 20)
    before = set(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"a\.png"):
        write_features(frame, tmp_path / f"out{suffix}", ResNetFeaturizer("tiny"))
    assert set(tmp_path.iterdir()) == before


def test_the_place_is_looked_at_before_any_image_is(frame, tmp_path):
    with pytest.raises(ValueError, match=r"Cannot write '.*absent/out\.csv': there is no such folder"):
        write_features(frame, tmp_path / "absent" / "out.csv", ResNetFeaturizer("no such network"))
