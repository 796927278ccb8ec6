"""A handle of Kaggle Models is downloaded, found where the user put it, or told how to get."""

import shutil
import sys
from types import SimpleNamespace

import pytest

from hybrid.sources import hub
from hybrid.sources.catalogue import find

SIZE = 32, 40
HANDLE = "kaggle:google/mobilenet-v2/tensorFlow2/035-128-feature-vector"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A SavedModel such as a handle leads to."""
    import keras

    path = tmp_path_factory.mktemp("hub") / "net"
    inputs = keras.Input((*SIZE, 3))
    keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)).export(path, verbose=False)
    (path / "hybrid.toml").write_text("range = [0, 1]\nsize = [32, 40]\n")
    return path


@pytest.fixture
def empty_hub(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path))
    hub.fetch.cache_clear()
    yield tmp_path / "hub"
    hub.fetch.cache_clear()


def test_a_handle_without_the_client_says_what_to_fetch(empty_hub, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(ValueError, match=r"hybrid-features\[hub\].*kaggle\.com/models/google.*into .*hub"):
        find(HANDLE)


def test_a_handle_without_internet_says_what_to_fetch(empty_hub, monkeypatch):
    def model_download(handle):
        raise ConnectionError("no route to kaggle.com")

    monkeypatch.setitem(sys.modules, "kagglehub", SimpleNamespace(model_download=model_download))
    with pytest.raises(
        ValueError, match=r"Cannot download .*: no route.*kaggle\.com/models/google.*into .*hub"
    ):
        find(HANDLE)


def test_a_handle_downloads_through_the_client(empty_hub, folder, monkeypatch):
    asked = []
    client = SimpleNamespace(model_download=lambda handle: asked.append(handle) or str(folder))
    monkeypatch.setitem(sys.modules, "kagglehub", client)
    assert (find(HANDLE).name, find(HANDLE).path) == (HANDLE, folder)
    assert asked == [HANDLE.removeprefix("kaggle:")]


def test_a_handle_is_found_where_the_user_put_it(empty_hub, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    shutil.copytree(folder, empty_hub / HANDLE.removeprefix("kaggle:"))
    assert find(HANDLE).size == SIZE


@pytest.mark.parametrize(
    "name", ["kaggle:", "kaggle:a/b", "kaggle:a/b/c/../e", "kaggle:a/b/c/d/new", "kaggle:/a/b/c/d"]
)
def test_what_is_no_handle_is_refused(name):
    with pytest.raises(ValueError, match="expected 'kaggle:OWNER/MODEL/FRAMEWORK/VARIATION'"):
        find(name)
