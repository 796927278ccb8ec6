"""The catalogue: names and paths are found, and the table has no gaps."""

import hashlib
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import two_layers

from hybrid import ResNetFeaturizer
from hybrid.engines import conversions
from hybrid.features.recipe import read_recipe
from hybrid.sources import catalogue
from hybrid.sources.catalogue import backbones, find, known
from hybrid.sources.network import locate


@pytest.mark.parametrize("name", ["resnet50", "ResNet50", "ResNet-50", "resnet_50", "RESNET50"])
def test_a_name_is_found_whatever_its_spelling(name):
    assert find(name).name == "resnet50"


@pytest.mark.parametrize("name", ["efficientnet-lite0", "EfficientNetV2B0", "mobilenet_v2", "tiny"])
def test_every_family_is_found(name):
    assert find(name) in known()


def test_an_unknown_name_is_told_the_near_ones():
    with pytest.raises(ValueError, match=r"Got backbone='resnet5'.*Did you mean 'resnet50'"):
        find("resnet5")
    with pytest.raises(TypeError, match="Got backbone=50"):
        find(50)


def test_a_path_that_is_no_network_is_named(tmp_path):
    with pytest.raises(ValueError, match="no such file"):
        find(tmp_path / "nothing.keras")
    with pytest.raises(ValueError, match="it is none of these"):
        find(tmp_path)


def test_the_table_of_networks_needs_no_tensorflow():
    code = (
        "import sys; from hybrid import backbones; table = backbones();"
        "assert 'tensorflow' not in sys.modules and 'keras' not in sys.modules; print(len(table))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(out.stdout) == len(known())


def test_the_table_has_one_row_a_network_and_no_gaps():
    table = backbones()
    assert table["name"].is_unique
    assert not table.isna().any().any()
    assert (table[["size", "width", "parameters"]] > 0).all().all()
    assert (table["licence"] != "").all()
    assert table.set_index("name").loc["efficientnet_lite0", "weights at hand"]


@pytest.mark.parametrize("record", known(), ids=lambda record: record.name)
def test_a_record_holds_together(record):
    strides = [int(stage.name[-1]) for stage in record.stages]
    assert strides == sorted(strides)
    assert record.stages[-1].layer == record.last.layer
    assert record.stages[-1].width == record.last.width
    assert record.min_size <= record.size[0]
    assert 1 <= record.margin < 1.3
    assert bool(record.classes) == bool(record.head)


@pytest.mark.parametrize(
    ("name", "canvas"),
    [
        ("resnet50", 256),
        ("inceptionv3", 342),
        ("efficientnetb0", 256),
        ("efficientnetb3", 332),
        ("efficientnetv2s", 384),
    ],
)
def test_the_canvas_is_the_published_one(name, canvas):
    record = find(name)
    assert round(record.size[0] * record.margin) == canvas


@pytest.fixture
def new_family(monkeypatch, tmp_path):
    """One name more in the catalogue, and its weights."""
    rng = np.random.default_rng(0)
    shapes = {"first_w": (1, 1, 3, 4), "first_b": (4,), "second_w": (1, 1, 4, 6), "second_b": (6,)}
    arrays = {name: rng.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
    monkeypatch.setattr(two_layers, "FILE", tmp_path / "two_layers.npz")
    np.savez(two_layers.FILE, **arrays)
    monkeypatch.setattr(catalogue, "NAMED", (*catalogue.NAMED, two_layers))
    return arrays


@pytest.mark.parametrize("engine", ["tensorflow", "openvino"])
def test_a_new_family_is_one_file_and_one_name(new_family, engine):
    images = np.random.default_rng(1).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8)
    params = {
        "precision": "float32",
        "backbone": "two-layers",
        "layers": ["stage1", "last"],
        "resize": "squash",
        "store": None,
    }
    found = ResNetFeaturizer(**params, engine=engine).fit_transform(images)
    first = relu(images[:, ::2, ::2] / 255 @ new_family["first_w"][0, 0] + new_family["first_b"])
    second = relu(first[:, ::2, ::2] @ new_family["second_w"][0, 0] + new_family["second_b"])
    expected = np.hstack([first.mean((1, 2)), second.mean((1, 2))])
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    drawn = ResNetFeaturizer(**params, engine=engine, weights=None, seed=0).fit_transform(images)
    assert drawn.shape == found.shape
    assert not np.allclose(drawn, found)
    assert backbones().set_index("name").loc["two_layers", "weights at hand"]


def relu(x):
    return np.maximum(x, 0)


def test_no_kind_of_network_is_told_apart_by_its_name_elsewhere():
    package = Path(catalogue.__file__).parents[1]
    files = [path for path in package.rglob("*.py") if "sources" not in path.parts]
    compared = re.compile(
        r"""\.(family|source|package)\b.*(==|!=| in )|(==|!=) *["'](tiny|bundle|onnx)["']"""
    )
    found = [
        (path.name, line) for path in files for line in path.read_text().splitlines() if compared.search(line)
    ]
    assert found == []


# What stores and kept conversions know networks by: the first words of scope, fingerprint and identity.
KNOWN = {
    "resnet50": (None, 0, "92d01ea004e7", "caeaed88622c", "d3eee8536e14"),
    "efficientnet_lite0": ("imagenet", None, "defa63295cbb", "dd13d4a7d288", "e661ee50372a"),
    "tiny": ("imagenet", None, "b6faa88721a4", "eb0b9dfb19ca", "653140ca4e8c"),
}


@pytest.mark.parametrize("name", KNOWN)
def test_what_a_store_knows_a_network_by_does_not_change(name):
    weights, seed, fingerprint, identity_, scope = KNOWN[name]
    record = find(name)
    network = locate(record, weights, seed, record.size, False)
    recipe = read_recipe(ResNetFeaturizer(name, weights=weights, seed=seed, precision="float32").get_params())
    assert network.fingerprint[:12] == fingerprint
    assert conversions.identity(network, record.layers(False))[:12] == identity_
    assert hashlib.sha256(recipe.scope.encode()).hexdigest()[:12] == scope
