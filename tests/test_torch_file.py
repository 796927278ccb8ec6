"""The old PyTorch format, read without PyTorch and without running it."""

import io
import pickle
import sys
import types
from collections import OrderedDict

import numpy as np
import pytest

from hybrid.sources.catalogue import find
from hybrid.sources.network import locate_weights
from hybrid.weights import torch_file
from hybrid.weights.torch_file import MAGIC, VERSION, read_torch


def shipped():
    return locate_weights(find("efficientnet_lite0"), "imagenet").path


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
