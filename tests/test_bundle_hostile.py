"""Bundles made to do harm: each is refused, and no code of theirs runs.

`Boom` leaves a file behind when it is unpickled, called or built; no test may find it.
"""

import contextlib
import io
import json
import os
import pickle
import random
import shutil
import stat
import struct
import zipfile
from importlib.util import find_spec

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.preprocessing import FunctionTransformer
from sklearn.svm import SVC

from hybrid import build_pipeline, load, load_sample, save
from hybrid.archive import manifest
from hybrid.archive.files import BundleError
from hybrid.bundle import portable

KEY = b"0123456789abcdef"


class Boom:
    """Runs code wherever it is given the chance."""

    def __init__(self, place):
        self.place = str(place)

    def __reduce__(self):
        return open, (self.place, "w")


@pytest.fixture(scope="module")
def sample():
    return load_sample(3)


@pytest.fixture(scope="module")
def good(sample, tmp_path_factory):
    """The files of a sound bundle, to be tampered with."""
    model = build_pipeline("logistic", backbone="tiny").fit(sample["image"], sample["label"])
    path = save(model, tmp_path_factory.mktemp("good") / "model", key=KEY)
    return {file.name: file.read_bytes() for file in path.iterdir()}


@pytest.fixture
def boom(tmp_path):
    place = tmp_path / "boom"
    yield place
    assert not place.exists(), "code from the bundle ran"


def write_zip(path, files, **attributes):
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in files.items():
            info = zipfile.ZipInfo(name)
            for key, value in attributes.items():
                setattr(info, key, value)
            archive.writestr(info, data)
    return path


def write_folder(path, files):
    path.mkdir()
    for name, data in files.items():
        (path / name).write_bytes(data)
    return path


def forged(good, parts, **about):
    """The files of a bundle whose manifest fits these parts, as an attacker would make it."""
    said = json.loads(good["manifest.json"]) | about
    return manifest.seal(parts, {key: value for key, value in said.items() if key != "parts"} | about)


def refused(path, match, **options):
    with pytest.raises(BundleError, match=match) as caught:
        load(path, **options)
    assert str(path) in str(caught.value)
    assert "expected" in str(caught.value)


def edited(data, change):
    """A skops file whose schema was changed."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    schema = json.loads(files["schema.json"])
    change(schema)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in (files | {"schema.json": json.dumps(schema)}).items():
            archive.writestr(name, content)
    return out.getvalue()


def nodes(schema, name):
    """Every node of a class in a schema."""
    if isinstance(schema, dict):
        if schema.get("__class__") == name:
            yield schema
        schema = list(schema.values())
    if isinstance(schema, list):
        for part in schema:
            yield from nodes(part, name)


# What stands in place of the model.


def test_a_pickle_in_place_of_the_model(good, tmp_path, boom):
    files = forged(good, {"model.skops": pickle.dumps(Boom(boom))})
    refused(write_zip(tmp_path / "m.hybrid", files), r"'model.skops' is not what it should be .*zip")
    refused(write_folder(tmp_path / "m", files), r"'model.skops' is not what it should be .*zip")


def test_a_pickled_array_inside_the_model(good, tmp_path, boom):
    out = io.BytesIO()
    np.save(out, np.array([Boom(boom)], dtype=object), allow_pickle=True)

    def change(schema):
        array = next(nodes(schema, "ndarray"))
        array.update(type="numpy", file="evil.npy")

    model = io.BytesIO(edited(good["model.skops"], change))
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("evil.npy", out.getvalue())
    refused(write_zip(tmp_path / "m.hybrid", forged(good, {"model.skops": model.getvalue()})), "promises")


@pytest.mark.parametrize(
    ("loader", "module", "name"),
    [
        ("FunctionNode", "os", "system"),
        ("ObjectNode", "subprocess", "Popen"),
        ("TypeNode", "builtins", "eval"),
        ("ObjectNode", "hybrid.store.feature_store", "FeatureStore"),
        ("ConstructorFromReduceNode", "builtins", "exec"),
    ],
)
def test_types_that_are_not_trusted(loader, module, name, good, tmp_path):
    def change(schema):
        node = next(nodes(schema, "FeatureNormalizer"))
        node.update(__loader__=loader, __module__=module, __class__=name)

    files = forged(good, {"model.skops": edited(good["model.skops"], change)})
    path = write_zip(tmp_path / "m.hybrid", files)
    refused(path, f"{module}.{name}.*Do not trust this file")
    refused(path, f"{module}.{name}.*Do not trust this file", trusted=True)


def test_a_function_of_the_user(sample, good, tmp_path, boom):
    import skops.io

    model = build_pipeline(FunctionTransformer(os.mkdir), backbone="tiny").fit(sample["image"])
    files = forged(good, {"model.skops": skops.io.dumps({"model": model, "probes": {}, "extras": {}})})
    refused(write_zip(tmp_path / "m.hybrid", files), "posix.mkdir")


def test_a_keras_file_with_a_lambda_layer(good, tmp_path, boom):
    code = f"open({str(boom)!r}, 'w')"
    layer = {"module": "keras.layers", "class_name": "Lambda", "config": {"function": code}}
    keras = io.BytesIO()
    with zipfile.ZipFile(keras, "w") as archive:
        archive.writestr(
            "config.json", json.dumps({"class_name": "Sequential", "config": {"layers": [layer]}})
        )
    refused(write_zip(tmp_path / "a.hybrid", forged(good, {"model.skops": keras.getvalue()})), "schema.json")
    parts = {"model.skops": good["model.skops"], "network.keras": keras.getvalue()}
    refused(
        write_zip(tmp_path / "b.hybrid", forged(good, parts)), r"the files \['model.skops', 'network.keras'\]"
    )

    def change(schema):
        featurizer = next(nodes(schema, "ResNetFeaturizer"))
        path = json.dumps(str(tmp_path / "net.keras"))
        featurizer["content"]["content"]["backbone"].update(content=path, __id__=-1)

    (tmp_path / "net.keras").write_bytes(keras.getvalue())
    (tmp_path / "net.keras.toml").write_text("size = 32\nrange = [0, 1]")
    files = forged(good, {"model.skops": edited(good["model.skops"], change)})
    refused(write_zip(tmp_path / "c.hybrid", files), "the backbone .*net.keras.* the name of a network")


def test_a_store_of_the_bundles_choice_is_not_written(good, tmp_path):
    def change(schema):
        featurizer = next(nodes(schema, "ResNetFeaturizer"))
        # Equal values are one node: give this one an identity of its own.
        featurizer["content"]["content"]["store"].update(
            content=json.dumps(str(tmp_path / "written")), __id__=-1
        )

    files = forged(good, {"model.skops": edited(good["model.skops"], change)})
    refused(write_zip(tmp_path / "m.hybrid", files), "the store .*written.* the reader's own")
    assert not (tmp_path / "written").exists()


def test_something_else_than_a_model(good, tmp_path):
    for content in ([1], {"model": 1}, {"model": 1, "probes": 1, "extras": {}}):
        files = forged(good, {"model.skops": portable.dumps(content)})
        refused(write_zip(tmp_path / "m.hybrid", files), "not what it should be|0 featurizers")


def test_a_schema_without_end(good, tmp_path):
    deep = io.BytesIO()
    with zipfile.ZipFile(deep, "w") as archive:
        archive.writestr("schema.json", '{"a":' * 100_000 + "1" + "}" * 100_000)
    refused(write_zip(tmp_path / "m.hybrid", forged(good, {"model.skops": deep.getvalue()})), "recursion")


def test_trees_that_lead_out_of_memory(sample, good, tmp_path):
    model = build_pipeline(RandomForestClassifier(2), backbone="tiny").fit(sample["image"], sample["label"])
    path = save(model, tmp_path / "sound")
    sound = (path / "model.skops").read_bytes()
    for number in (2**31 - 2, 0):
        skops = io.BytesIO()
        with zipfile.ZipFile(io.BytesIO(sound)) as source, zipfile.ZipFile(skops, "w") as target:
            for name in source.namelist():
                target.writestr(name, with_children(source.read(name), number))
        files = forged(
            good,
            {"model.skops": skops.getvalue()},
            recipes=json.loads((path / "manifest.json").read_text())["recipes"],
        )
        refused(write_zip(tmp_path / "m.hybrid", files), "lead nowhere")


def with_children(data, number):
    """An array of tree nodes whose steps all lead to one place."""
    if not data.startswith(b"\x93NUMPY"):
        return data
    array = np.load(io.BytesIO(data))
    if array.dtype.names:
        array["left_child"][0] = number
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


# Names, links and sizes.


@pytest.mark.parametrize(
    "name",
    [
        "../model.skops",
        "/etc/model.skops",
        "a/b.skops",
        "C:\\model.skops",
        "..",
        "model.skops\0.png",
        ".model.skops",
    ],
)
def test_names_that_lead_elsewhere(name, good, tmp_path):
    path = write_zip(tmp_path / "m.hybrid", good)
    with zipfile.ZipFile(path, "a") as archive:
        info = zipfile.ZipInfo("placeholder")
        info.filename = info.orig_filename = name
        archive.writestr(info, b"x")
    refused(path, "it holds .* names such as .* Do not trust this file")
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["m.hybrid"]


def test_a_link_in_a_zip(good, tmp_path):
    path = write_zip(tmp_path / "m.hybrid", good, external_attr=(stat.S_IFLNK | 0o777) << 16)
    refused(path, "is a link or a device")


def test_a_link_in_a_folder(good, tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(good["model.skops"])
    path = write_folder(tmp_path / "m", {name: data for name, data in good.items() if name != "model.skops"})
    (path / "model.skops").symlink_to(secret)
    refused(path, "'model.skops' is a link")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes here")
def test_a_pipe_in_a_folder(good, tmp_path):
    path = write_folder(tmp_path / "m", {name: data for name, data in good.items() if name != "model.skops"})
    os.mkfifo(path / "model.skops")
    refused(path, "'model.skops' is no regular file")


def test_a_folder_in_a_folder(good, tmp_path):
    path = write_folder(tmp_path / "m", good)
    (path / "more.d").mkdir()
    refused(path, "'more.d' is no regular file")


def test_a_name_twice(good, tmp_path):
    path = write_zip(tmp_path / "m.hybrid", good)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("model.skops", b"another")
    refused(path, "it holds 'model.skops' twice")


def test_a_header_that_promises_ten_gigabytes(good, tmp_path):
    path = write_zip(tmp_path / "m.hybrid", good)
    data = bytearray(path.read_bytes())
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 2**32 - 2, 2**32 - 2)
    path.write_bytes(data)
    refused(path, "promises 4294967294 bytes")

    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("model.skops")
        archive.writestr(info, b"")
        info.file_size = info.compress_size = 10 << 30
    refused(path, f"promises {10 << 30} bytes")


def test_a_folder_that_is_larger_than_any_memory(good, tmp_path):
    path = write_folder(tmp_path / "m", good)
    os.truncate(path / "model.skops", 10 << 30)
    refused(path, r"it holds 107\d+ bytes, but expected at most 4294967296")


def test_a_zip_bomb(good, tmp_path):
    path = tmp_path / "m.hybrid"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in good.items():
            archive.writestr(name, data)
        archive.writestr("bomb.skops", bytes(50 << 20))
    refused(path, "is compressed or encrypted")


def test_a_bomb_inside_the_model(good, tmp_path):
    bomb = io.BytesIO()
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("schema.json", bytes(50 << 20))
    refused(
        write_zip(tmp_path / "m.hybrid", forged(good, {"model.skops": bomb.getvalue()})),
        "promises 52428800 bytes",
    )


def test_an_array_that_promises_ten_gigabytes(good, tmp_path):
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": (10 << 27,)})
    model = io.BytesIO(good["model.skops"])
    with zipfile.ZipFile(model, "a") as archive:
        archive.writestr("huge.npy", out.getvalue())
    refused(
        write_zip(tmp_path / "m.hybrid", forged(good, {"model.skops": model.getvalue()})),
        "promises 10737418240 bytes",
    )


# The manifest.


@pytest.mark.parametrize("kind", ["zip", "folder"])
def test_a_wrong_hash(kind, good, tmp_path):
    bad = bytearray(good["model.skops"])
    bad[len(bad) // 2] ^= 1
    files = good | {"model.skops": bytes(bad)}
    path = write_zip(tmp_path / "m.hybrid", files) if kind == "zip" else write_folder(tmp_path / "m", files)
    refused(path, r"'model.skops' has the SHA-256 \w{12}..., but expected \w{12}...")


def test_a_wrong_size(good, tmp_path):
    refused(write_folder(tmp_path / "m", good | {"model.skops": b"short"}), r"'model.skops' has 5 bytes")


def of_protocol(protocol, good, **about):
    said = json.loads(good["manifest.json"]) | {"protocol": protocol} | about
    return {**good, "manifest.json": json.dumps(said).encode()}


@pytest.mark.parametrize("protocol", [manifest.PROTOCOL + 1, str(manifest.PROTOCOL), [], None, 0])
def test_a_newer_protocol(protocol, good, tmp_path):
    match = f"protocol .* written by hybrid-features .* but expected {manifest.PROTOCOL}. Update hybrid"
    refused(write_zip(tmp_path / "m.hybrid", of_protocol(protocol, good)), match)


def test_a_bundle_of_an_older_protocol_names_the_version_that_wrote_it(good, tmp_path):
    about = {"versions": {"hybrid-features": "0.1.0"}, "created": "2026-01-31T12:00:00+00:00"}
    match = (
        r"protocol 1, written by hybrid-features 0\.1\.0 at 2026-01-31T12:00:00\+00:00, "
        f"but expected {manifest.PROTOCOL}. Train and save the model again"
    )
    path = write_zip(tmp_path / "m.hybrid", of_protocol(1, good, **about))
    refused(path, match)
    assert manifest.is_bundle(path)
    refused(write_zip(path, of_protocol(1, good, versions=3)), "hybrid-features of an unknown version")


def test_missing_parts(good, tmp_path):
    for name in ("model.skops", "manifest.json"):
        files = {key: data for key, data in good.items() if key != name}
        refused(write_zip(tmp_path / "m.hybrid", files), "the files|of no bytes")


def test_surplus_parts(good, tmp_path):
    for extra in ("evil.py", "network-0.xml", "model.pkl"):
        refused(write_zip(tmp_path / "m.hybrid", good | {extra: b"x"}), f"the files .*{extra}")


def test_too_many_parts(good, tmp_path):
    files = good | {f"network-{i}.xml": b"" for i in range(100)}
    refused(write_zip(tmp_path / "m.hybrid", files), "it holds 103 files")


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"nonsense",
        b"[" * 100_000,
        b'{"format": "hybrid bundle", "protocol": 2}',
        b"1e999",
    ],
)
def test_a_manifest_that_is_none(text, good, tmp_path):
    refused(write_zip(tmp_path / "m.hybrid", good | {"manifest.json": text}), "manifest")


def test_a_manifest_of_other_types(good, tmp_path):
    said = json.loads(good["manifest.json"])
    for key in ("networks", "parts", "versions", "recipes"):
        for value in (None, 1, "a", [1], {"a": 1}, [[]], {"network-0": None}):
            text = json.dumps(said | {key: value}).encode()
            path = write_zip(tmp_path / "m.hybrid", good | {"manifest.json": text})
            if (key, value) not in [("versions", {"a": 1}), ("versions", {"network-0": None})]:
                refused(path, "Cannot load")


def test_a_huge_manifest(good, tmp_path, monkeypatch):
    monkeypatch.setattr(manifest, "MAX_MANIFEST", 1000)
    refused(
        write_zip(tmp_path / "m.hybrid", good | {"manifest.json": b" " * 1001}), "manifest.json of 1001 bytes"
    )


def test_a_changed_manifest_fails_its_signature_before_it_is_read(good, tmp_path):
    path = write_zip(tmp_path / "m.hybrid", good)
    load(path, key=KEY)
    refused(write_zip(path, good | {"manifest.json": good["manifest.json"] + b" "}), "signature", key=KEY)
    refused(write_zip(path, good | {"manifest.json": b"nonsense"}), "signature", key=KEY)
    refused(write_zip(path, good | {"signature.txt": b"0" * 64}), "signature", key=KEY)
    refused(write_zip(path, good | {"signature.txt": b""}), "signature", key=KEY)


def test_networks_that_are_not_what_they_say(good, tmp_path):
    entry = {"name": "n", "weights": "", "licence": "", "size": [32, 32], "margin": 1.0,
             "interpolation": "bilinear", "layers": [["last", "last", 64]]}  # fmt: skip
    parts = {"model.skops": good["model.skops"], "network-0.xml": b"<net/>", "network-0.bin": b""}
    recipes = [json.loads(good["manifest.json"])["recipes"][0] | {"network": "network-0"}]
    changes = ({"size": [10**9, 32]}, {"size": 3}, {"margin": float("nan")}, {"interpolation": "../x"},
               {"layers": []}, {"layers": None}, {"name": 1})  # fmt: skip
    if not find_spec("openvino"):
        pytest.skip("no engine runs a network inside a bundle here")
    for change in changes:
        files = forged(good, parts, networks={"network-0": entry | change}, recipes=recipes)
        refused(write_zip(tmp_path / f"{len(os.listdir(tmp_path))}.hybrid", files), "network-0")


# Everything else.


def test_no_file_at_all(tmp_path):
    refused(tmp_path / "nothing.hybrid", "no such file")
    (tmp_path / "empty.hybrid").write_bytes(b"")
    refused(tmp_path / "empty.hybrid", "damaged")
    (tmp_path / "folder").mkdir()
    refused(tmp_path / "folder", "manifest.json of no bytes")


def test_a_truncated_zip(good, tmp_path):
    whole = write_zip(tmp_path / "m.hybrid", good).read_bytes()
    for length in (10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "m.hybrid").write_bytes(whole[:length])
        refused(tmp_path / "m.hybrid", "damaged")


def test_damage_anywhere_is_refused_or_harmless(good, tmp_path):
    """Flipped bytes end in a BundleError, or hit what no one reads, such as a date."""
    path = write_zip(tmp_path / "m.hybrid", good)
    whole, rng = path.read_bytes(), random.Random(0)
    directory = len(whole) - 300
    refusals = 0
    for i in range(300):
        data = bytearray(whole)
        data[rng.randrange(directory, len(data)) if i % 2 else rng.randrange(len(data))] = rng.randrange(256)
        path.write_bytes(data)
        try:
            load(path, key=KEY)
        except BundleError:
            refusals += 1
    assert refusals > 150


def test_damage_inside_the_model_is_refused_or_harmless(sample, tmp_path):
    model = build_pipeline(SVC(), backbone="tiny").fit(sample["image"], sample["label"])
    path = save(model, tmp_path / "m")
    whole, rng = (path / "model.skops").read_bytes(), random.Random(0)
    about = {"manifest.json": (path / "manifest.json").read_bytes()}
    schema = whole.index(b'"__class__"')
    shutil.rmtree(path)
    for i in range(150):
        data = bytearray(whole)
        data[rng.randrange(schema, len(data)) if i % 2 else rng.randrange(len(data))] = rng.randrange(256)
        write_zip(tmp_path / "m.hybrid", forged(about, {"model.skops": bytes(data)}))
        with contextlib.suppress(BundleError):
            load(tmp_path / "m.hybrid")
