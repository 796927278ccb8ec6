"""A small training set whose classes and files are called what a page must not take for markup, and its outcome."""

from functools import cache

import numpy as np
import pandas as pd
from PIL import Image

from hybrid import load_sample
from hybrid.experiment.train import train

NAMES = {
    "bricks": "<script>alert(1)</script>",
    "star": 'it\'s "quoted" & {{ 7*7 }} ☂ 🐈',
    "waves": "</script><img src=x onerror=alert(2)>",
    "rings": "<b>bold</b>",
}
CONFIG = {
    "features": {"backbone": "tiny", "layers": ["stage2", "last"]},
    "model": {"kind": "logistic"},
    "logistic": {"C": [30, 3]},
    "cv": {"repeats": 1},
    # Of six seeds, the folds of two doubt the picture like no other.
    "seed": 5,
}


def awkward(folder, n=10):
    """Write pictures of four classes, one of them twice, one labelled wrong, one like no other; return their table."""
    sample, rows = load_sample(n), []
    for number, (old, label) in enumerate(NAMES.items()):
        for i, pixels in enumerate(sample[sample["label"] == old]["image"]):
            path = folder / f"{number} <i>'\"&🐈 {i}.png"
            Image.fromarray(pixels).save(path)
            rows.append((str(path), label))
    rows.append((rows[0][0], rows[0][1]))
    rows[3] = rows[3][0], NAMES["star"]
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(folder / "noise.png")
    rows.append((str(folder / "noise.png"), NAMES["rings"]))
    return pd.DataFrame(rows, columns=["image", "label"])


@cache
def outcome(folder):
    return train(awkward(folder), CONFIG)
