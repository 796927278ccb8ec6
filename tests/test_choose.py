"""What "auto" chooses: the fastest engine that fits the network and is installed, in the precision it has."""

import sys
import types
from dataclasses import replace

import pytest

from hybrid.engines import openvino, tensorflow
from hybrid.engines.choose import choose
from hybrid.sources.catalogue import find
from hybrid.sources.network import locate


@pytest.fixture(scope="module")
def ordinary():
    return locate(find("mobilenet"), None, 0, (32, 32), False)


@pytest.fixture(scope="module")
def tiny():
    return locate(find("tiny"), "imagenet", None, (32, 32), False)


def test_auto_is_tiny_for_the_tiny_network(tiny):
    assert choose(tiny) == ("tiny", "float32")


@pytest.mark.parametrize(
    ("engine", "precision", "message"),
    [
        ("torch", "auto", "Got engine='torch', but expected one of 'auto', 'tensorflow', 'openvino', 'tiny'"),
        ("auto", "half", "Got precision='half', but expected one of 'auto', 'float32', 'bfloat16', 'int8'"),
        ("tiny", "auto", "Got engine='tiny', but backbone 'mobilenet' runs on 'tensorflow' or 'openvino'"),
        ("tensorflow", "int8", "only engine 'openvino' has it"),
    ],
)
def test_what_cannot_be_chosen_is_refused(engine, precision, message, ordinary):
    with pytest.raises(ValueError, match=message):
        choose(ordinary, engine, precision)


@pytest.mark.parametrize(
    ("engine", "precision", "message"),
    [("openvino", "auto", "backbone 'tiny' runs on 'tiny'"), ("auto", "bfloat16", "'float32' only")],
)
def test_the_tiny_network_runs_on_numpy_in_float32(engine, precision, message, tiny):
    with pytest.raises(ValueError, match=message):
        choose(tiny, engine, precision)


def test_auto_takes_what_is_installed(monkeypatch, ordinary):
    network = ordinary
    assert choose(network, precision="float32")[0] == "openvino"
    monkeypatch.setitem(sys.modules, "openvino", None)
    assert choose(network)[0] == "tensorflow"
    with pytest.raises(ValueError, match="Engine 'openvino' needs OpenVINO: pip install openvino"):
        choose(network, "openvino")
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(ValueError, match="pip install openvino tensorflow"):
        choose(network)


@pytest.mark.parametrize(("gpus", "engine"), [(["GPU:0"], "tensorflow"), ([], "openvino")])
def test_auto_takes_a_gpu_that_tensorflow_sees(monkeypatch, tmp_path, gpus, engine, ordinary):
    config = types.SimpleNamespace(list_physical_devices=lambda kind: gpus)
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(config=config, __spec__=True))
    assert choose(ordinary, precision="float32")[0] == "openvino"
    monkeypatch.setattr("hybrid.engines.choose.GPUS", [tmp_path])
    assert choose(ordinary, precision="float32")[0] == engine


@pytest.mark.parametrize(
    ("flags", "automatic", "allowed"),
    [({"avx2"}, "float32", False), ({"avx512f"}, "float32", True), ({"amx_bf16"}, "bfloat16", True)],
)
def test_bfloat16_is_chosen_where_the_processor_has_it(monkeypatch, flags, automatic, allowed, ordinary):
    network = ordinary
    monkeypatch.setattr(tensorflow, "processor_flags", lambda: flags)
    monkeypatch.setattr(openvino, "has_bfloat16", lambda: "amx_bf16" in flags)
    assert choose(network, "tensorflow")[1] == choose(network, "openvino")[1] == automatic
    if allowed:
        assert choose(network, "tensorflow", "bfloat16")[1] == "bfloat16"
    else:
        for engine in ("openvino", "tensorflow"):
            with pytest.raises(ValueError, match="Pass precision='float32' or 'auto'"):
                choose(network, engine, "bfloat16")


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_auto_takes_only_what_fits_the_network(monkeypatch, tmp_path, ordinary, engine):
    config = types.SimpleNamespace(
        list_physical_devices=lambda kind: ["GPU:0"] if engine == "openvino" else []
    )
    monkeypatch.setitem(sys.modules, "tensorflow", types.SimpleNamespace(config=config, __spec__=True))
    monkeypatch.setattr("hybrid.engines.choose.GPUS", [tmp_path])
    network = replace(ordinary, backbone=replace(ordinary.backbone, engines=(engine,)))
    assert choose(network, precision="float32")[0] == engine
    monkeypatch.setitem(sys.modules, engine, None)
    with pytest.raises(
        ValueError, match=f"No engine that runs 'mobilenet' is installed: pip install {engine}"
    ):
        choose(network)
