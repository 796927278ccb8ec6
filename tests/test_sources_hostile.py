"""Networks from elsewhere made to do harm: they are refused before any package reads them."""

import io
import json
import multiprocessing
import os
import time
import zipfile

import forge
import numpy as np
import pytest

from hybrid import ResNetFeaturizer
from hybrid.bundle import probes
from hybrid.engines import conversions
from hybrid.sources import keras_file


def described(path, text="size = 32\nrange = [0, 255]\n"):
    path.with_name(path.name + ".toml").write_text(text)
    return path


def refused(path, match, **params):
    with pytest.raises(ValueError, match=match):
        ResNetFeaturizer(path, store=None, **params).fit_transform(probes.images())


def zipped(path, files):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return path


# .keras files.


def test_a_configuration_that_unpacks_to_gigabytes_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(keras_file, "MOST_CONFIG", 1 << 20)
    path = described(zipped(tmp_path / "a.keras", {"config.json": b" " * (64 << 20)}))
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda *arguments: pytest.fail("it was read"))
    refused(path, "unpacks to 67108864 bytes, 67108864 of them in config.json")


def test_weights_that_unpack_to_gigabytes_are_not_read(tmp_path):
    files = {"config.json": b"{}", "model.weights.h5": bytes(80 << 20)}
    refused(described(zipped(tmp_path / "a.keras", files)), "unpacks to 83886082 bytes")


def weights(make):
    h5py = pytest.importorskip("h5py")
    out = io.BytesIO()
    with h5py.File(out, "w") as file:
        make(h5py, file)
    return out.getvalue()


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (
            lambda h5py, file: file.create_dataset(
                "w", (1 << 30,), "f4", chunks=(1 << 20,), compression="gzip"
            ),
            "its weights unpack to 4294967296 bytes",
        ),
        (
            lambda h5py, file: file.__setitem__("w", h5py.ExternalLink("/etc/hostname", "w")),
            "its weights 'w' lie elsewhere",
        ),
        (
            lambda h5py, file: file.create_dataset("w", (4,), "u1", external=[("/etc/hostname", 0, 4)]),
            "its weights 'w' lie elsewhere",
        ),
    ],
    ids=["a bomb", "a link", "another file"],
)
def test_weights_that_are_not_in_their_file(make, match, tmp_path):
    pytest.importorskip("keras")
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": []}}
    files = {"config.json": json.dumps(config).encode(), "model.weights.h5": weights(make)}
    refused(described(zipped(tmp_path / "a.keras", files)), match, engine="tensorflow")


# What the TOML beside a network says.


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("scale = 1.0\nstd = [0, 0, 0]", "deviations above 0"),
        ("scale = 1.0\nstd = [1, -1, 1]", "deviations above 0"),
        ("scale = 0", "a scale other than 0"),
        ("scale = nan", "scale=.nan. in .*expected 1 numbers"),
        ("scale = true", "scale=.True. in .*expected 1 numbers"),
        ("mean = [0, inf, 0]", "mean=.0, inf, 0. in .*expected 3 numbers"),
        ("range = [0, nan]", "range=.0, nan. in .*expected 2 numbers"),
        ('range = [0, 1]\nbgr = "false"', "bgr='false' in .*expected true or false"),
        ("range = [0, 1]\nbgr = 0", "bgr=0 in .*expected true or false"),
    ],
)
def test_a_record_that_scales_by_nothing_is_refused_when_read(text, match, tmp_path):
    config = {"class_name": "Sequential", "module": "keras", "config": {"layers": []}}
    path = zipped(tmp_path / "a.keras", {"config.json": json.dumps(config).encode()})
    refused(described(path, f"size = 32\n{text}\n"), match)


# OpenVINO and ONNX.


def test_an_openvino_network_of_other_operations_is_refused(tmp_path):
    pytest.importorskip("openvino")
    xml, data = forge.network(tmp_path)
    path = described(tmp_path / "n.xml")
    path.with_suffix(".bin").write_bytes(data)
    for kind in ("Loop", "TensorIterator", "If", "ReadValue", "NonMaxSuppression"):
        path.write_bytes(xml.replace(b'type="AvgPool"', f'type="{kind}"'.encode()))
        refused(path, f"the operations {kind}, which no feature extractor needs")
    path.write_bytes(xml.replace(b'offset="0"', b'offset="99999999"', 1))
    refused(path, "is not in its weights")
    path.write_bytes(xml)
    assert ResNetFeaturizer(path, store=None).fit_transform(probes.images()).shape == (4, forge.WIDTH)


def test_an_openvino_network_that_grows_without_end_is_refused(tmp_path):
    pytest.importorskip("openvino")
    forge.network(
        tmp_path,
        lambda ops, x: ops.reduce_max(ops.tile(x, np.array([1 << 22, 1, 1, 1])), np.array([0]), True),
    )
    refused(described(tmp_path / "network.xml"), "numbers an image")


def message(number, data):
    """A field of a protocol buffer."""
    data = data.encode() if isinstance(data, str) else data
    length, size = b"", len(data)
    while size > 127:
        length, size = length + bytes([size & 127 | 128]), size >> 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


@pytest.mark.parametrize("kind", ["Loop", "If", "Scan", "NonMaxSuppression"])
def test_an_onnx_network_of_other_operations_is_refused(kind, tmp_path):
    path = described(tmp_path / "n.onnx")
    path.write_bytes(message(7, message(1, message(4, kind))))
    refused(path, f"the operations {kind}, which no feature extractor needs")


def test_an_onnx_network_with_functions_of_its_own_is_refused(tmp_path):
    """A function may go by the name of an allowed operation."""
    path = described(tmp_path / "n.onnx")
    path.write_bytes(message(7, message(1, message(4, "Relu"))) + b"\xca\x01\x06" + message(1, "Relu"))
    refused(path, "functions of its own")
    path.write_bytes(message(7, message(1, message(4, "Loop"))) + message(7, message(1, message(4, "Relu"))))
    refused(path, "it holds 2 graphs")


# Converted networks, shared by processes.


class Core:
    """Reads any file."""

    def read_model(self, path):
        return path.read_bytes()


@pytest.fixture
def networks(tmp_path, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE", str(tmp_path))

    def keep(core, key, model):
        folder = conversions.networks_folder() / key
        folder.mkdir(parents=True, exist_ok=True)
        (folder / conversions.MODEL).write_bytes(model)
        (folder / conversions.WEIGHTS).write_bytes(b"")
        (folder / conversions.DIGESTS).write_text(json.dumps(conversions.digests(folder)))

    monkeypatch.setattr(conversions, "keep", keep)
    return conversions.networks_folder()


def convert_slowly(queue):
    def convert():
        queue.put("converted")
        time.sleep(0.5)
        return b"model"

    queue.put(conversions.kept(Core(), "key", convert))


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_one_process_converts_and_the_others_wait_for_it(networks):
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    processes = [context.Process(target=convert_slowly, args=(queue,)) for _ in range(4)]
    for process in processes:
        process.start()
    found = [queue.get(timeout=30) for _ in range(5)]
    for process in processes:
        process.join()
    assert sorted(map(str, found)) == sorted(["converted", *["b'model'"] * 4])


@pytest.mark.skipif(conversions.fcntl is None, reason="no locks here")
def test_a_process_that_was_stopped_holds_others_up_for_a_time_only(networks, monkeypatch):
    monkeypatch.setattr(conversions, "WAIT_SECONDS", 0.3)
    with conversions.alone("key"):
        started = time.monotonic()
        assert conversions.kept(Core(), "key", lambda: b"mine") == b"mine"
    assert 0.2 < time.monotonic() - started < 5


def test_networks_that_were_not_read_for_longest_go(networks, monkeypatch):
    monkeypatch.setenv("HYBRID_STORE_LIMIT", "2500")
    for i, key in enumerate(["first", "second", "third"]):
        conversions.kept(Core(), key, lambda: bytes(1000))
        os.utime(networks / key, (i, i))
    conversions.make_folder()
    conversions.keep(Core(), "calibrated", bytes(1000))
    os.utime(networks / "calibrated", (0, 0))
    assert conversions.kept(Core(), "second", lambda: pytest.fail("it was kept")) == bytes(1000)
    conversions.kept(Core(), "fourth", lambda: bytes(1000))
    assert sorted(path.name for path in networks.iterdir() if path.is_dir()) == [
        "calibrated",
        "fourth",
        "second",
    ]
