"""The catalogue: names and paths are found, and the table has no gaps."""

import subprocess
import sys

import pytest

from hybrid.sources.catalogue import backbones, find, known


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
