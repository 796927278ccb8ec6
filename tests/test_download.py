"""Published weights: fetched once, whole or not at all, into Keras's own folder."""

import hashlib
import http.server
import threading
import time
from dataclasses import replace

import pytest

from hybrid.sources.catalogue import find, source
from hybrid.sources.network import locate_weights
from hybrid.weights.download import keras_folders
from hybrid.weights.files import WeightsFile

CONTENT = b"weights" * 1000


@pytest.fixture
def keras_home(tmp_path, monkeypatch):
    """An empty Keras folder of the test's own."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path / "keras"))
    monkeypatch.delenv("HYBRID_WEIGHTS_URL", raising=False)
    return tmp_path / "keras" / "models"


@pytest.fixture
def server(monkeypatch):
    """A web server of files: good.h5 whole, short.h5 broken off, anything else missing."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            if self.path.endswith("missing.h5"):
                return self.send_error(404)
            self.send_response(200)
            self.send_header("Content-Length", str(len(CONTENT)))
            self.end_headers()
            self.wfile.write(CONTENT[:100] if self.path.endswith("short.h5") else CONTENT)

        def log_message(self, *args):
            pass

    asked = []
    httpd = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=httpd.serve_forever, daemon=True).start()
    monkeypatch.setenv("HYBRID_WEIGHTS_URL", f"http://127.0.0.1:{httpd.server_port}/")
    yield asked
    httpd.shutdown()
    httpd.server_close()


def record_with(name, digest=""):
    file = WeightsFile(name, "https://invalid.invalid/" + name, digest)
    return replace(find("mobilenet"), weights=file, weights_top=file)


def test_missing_weights_are_fetched_once_into_keras_folder(keras_home, server):
    digest = hashlib.md5(CONTENT).hexdigest()
    record = record_with("good.h5", digest)
    assert not source(record).at_hand(record)
    weights = locate_weights(record, "imagenet")
    assert weights.path == keras_home / "good.h5"
    assert weights.path.read_bytes() == CONTENT
    assert weights.fingerprint == digest
    assert weights.published
    assert locate_weights(record, "imagenet") == weights
    assert source(record).at_hand(record)
    assert server == ["/good.h5"]
    assert [path.name for path in keras_home.iterdir()] == ["good.h5"]


@pytest.mark.parametrize(
    ("name", "digest", "reason"),
    [
        ("missing.h5", "", "HTTP 404"),
        ("short.h5", "", "100"),
        ("good.h5", "0" * 32, "does not have the hash"),
    ],
)
def test_what_cannot_be_fetched_whole_leaves_nothing_behind(keras_home, server, name, digest, reason):
    with pytest.raises(ValueError, match=reason):
        locate_weights(record_with(name, digest), "imagenet")
    assert list(keras_home.iterdir()) == []


def test_where_weights_cannot_be_had_the_error_names_every_way_out(keras_home, monkeypatch):
    monkeypatch.setenv("HYBRID_WEIGHTS_URL", "http://127.0.0.1:9")
    start = time.perf_counter()
    with pytest.raises(ValueError, match="ImageNet weights of 'resnet50'") as caught:
        locate_weights(find("resnet50"), "imagenet")
    assert time.perf_counter() - start < 5
    message = str(caught.value)
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in message
    assert str(keras_home) in message
    assert "weights=PATH" in message
    assert "backbone='efficientnet_lite0'" in message
    with pytest.raises(ValueError, match=r"tf_kernels\.h5"):
        locate_weights(find("resnet50"), "imagenet", top=True)


def test_a_damaged_file_in_keras_folder_is_fetched_again(keras_home, server):
    keras_home.mkdir(parents=True)
    (keras_home / "good.h5").write_bytes(CONTENT[:50])
    weights = locate_weights(record_with("good.h5", hashlib.sha256(CONTENT).hexdigest()), "imagenet")
    assert weights.path.read_bytes() == CONTENT


def test_weights_that_keras_downloaded_are_used_without_a_network(keras_home, monkeypatch):
    monkeypatch.setenv("HYBRID_WEIGHTS_URL", "http://127.0.0.1:9")
    keras_home.mkdir(parents=True)
    record = find("mobilenet")
    (keras_home / record.weights.name).write_bytes(CONTENT)
    assert locate_weights(record, "imagenet").path == keras_home / record.weights.name


def test_the_folder_is_keras_own(keras_home, monkeypatch):
    assert keras_folders() == [keras_home]
    monkeypatch.undo()
    from keras.src.backend.config import keras_home as keras_own

    assert str(keras_folders()[0].parent) == keras_own()
