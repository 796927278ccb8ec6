"""A record knows its layers, its head and its classes."""

import pytest

from hybrid.sources.catalogue import find
from hybrid.sources.network import headless, layer_outputs, locate


def test_an_unknown_layer_is_told_what_there_is():
    record = find("mobilenet")
    model = headless(locate(record, None, 0, (32, 32), False))
    told = (
        r"Got layers='conv_pw_1_rel'.*'stage1', .*'last', 'predictions' and .*Did you mean 'conv_pw_1_relu'"
    )
    with pytest.raises(ValueError, match=told):
        layer_outputs(record, model, ["conv_pw_1_rel"])


def test_layers_of_the_head_are_known_as_such():
    record = find("vgg16")
    assert record.needs_head(["last", "fc2"])
    assert record.needs_head(["predictions"])
    assert not record.needs_head(["last", "stage4", "block1_conv1"])


def test_classes_are_named_and_differ():
    names = find("resnet50").class_names()
    assert len(set(names)) == 1000
    assert names[:2] == ("tench", "goldfish")
    assert names[995] == "earthstar"
    assert find("tiny").class_names() == ()
