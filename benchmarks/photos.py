"""JPEG files to measure with: the real photographs beside the checkout, or drawn ones."""

from itertools import cycle, islice
from pathlib import Path

import numpy as np
from PIL import Image

PHOTOGRAPHS = Path(__file__).resolve().parents[2] / "shared" / "data"


def jpegs(n, folder) -> list[str]:
    """Write `n` different JPEG files of 500 x 375 pixels into `folder`; return their paths."""
    sources = list(islice(cycle(pictures()), n))
    paths = []
    for i, picture in enumerate(sources):
        pixels = np.asarray(picture).copy()
        pixels[:4, :4] = [i % 256, i // 256 % 256, i // 65536]
        paths.append(str(folder / f"{i:05}.jpg"))
        Image.fromarray(pixels).save(paths[-1], quality=90)
    return paths


def pictures():
    files = sorted(PHOTOGRAPHS.glob("caltech20/*/*.jpg"))[::3][:200]
    if files:
        return [Image.open(file).convert("RGB").resize((500, 375)) for file in files]
    from hybrid import load_sample

    return [Image.fromarray(pixels).resize((500, 375)) for pixels in load_sample()["image"]]
