"""The TOML beside a user's network: every key is named, every mistake is told."""

import re

import pytest

from hybrid.sources.catalogue import find
from hybrid.sources.description import EXAMPLE, KEYS


def test_a_missing_description_is_asked_for_by_name(tmp_path, keras_file):
    path = tmp_path / "other.keras"
    path.write_bytes(keras_file[0].read_bytes())
    with pytest.raises(ValueError, match=r"other\.keras' does not say.*other\.keras\.toml'") as caught:
        find(path)
    path.with_name("other.keras.toml").write_text(
        str(caught.value).partition("such as:\n\n")[2].replace("224", "[20, 28]")
    )
    assert find(path).scale == 1 / 255


def test_the_example_names_every_key():
    assert set(re.findall(r"^(?:# )?(\w+) = ", EXAMPLE, re.MULTILINE)) == {*KEYS, "stage4"} - {"stages"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rnge = [0, 1]", "key 'rnge'.*did you mean 'range'"),
        ("range = [1, 0]", "Got range"),
        ("range = [0, 1]\nscale = 2.0", "no scale, mean or std"),
        ("range = [0, 1]\nsize = 32", "the network takes \\(20, 28\\) only"),
        ("range = [0, 1]\nsize = 'big'", "Got size='big'"),
        ("scale = 'much'", "Got scale="),
        ("mean = [1, 2]", "expected 3 numbers"),
        ("bgr = true", "has no 'range'"),
        ("range = [0, 1]\nmargin = 0.5", "Got margin=0.5"),
        ("range = [0, 1]\ninterpolation = 'cubic'", "Got interpolation='cubic'"),
        ("range = [0", "Cannot read"),
    ],
)
def test_a_wrong_description_is_refused_with_its_reason(tmp_path, keras_file, text, message):
    path = tmp_path / "net.keras"
    path.write_bytes(keras_file[0].read_bytes())
    path.with_name("net.keras.toml").write_text(text)
    with pytest.raises(ValueError, match=message):
        find(path)
