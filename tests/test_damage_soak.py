"""Mutated images of every format, with libvips as the judge: no crash, no hang, no damage that passes unseen."""

import collections
import os
import time
import warnings

import numpy as np
import pytest
from corpus import SCENE, saved
from PIL import Image

from hybrid.images.decoding import decode
from hybrid.images.frame import Frame
from hybrid.images.pixels import ImageError

PHOTO = Image.fromarray(SCENE).resize((160, 96), Image.Resampling.BICUBIC)
NOISE = np.random.default_rng(0).normal(0, 6, (96, 160, 3))
PHOTO = Image.fromarray(np.clip(np.asarray(PHOTO) + NOISE, 0, 255).astype(np.uint8))
# By format: its files and their end marker.
FILES = {
    "JPEG": ([saved(PHOTO, "JPEG"), saved(PHOTO, "JPEG", mode="L", restart_marker_rows=1)], b"\xff\xd9"),
    "progressive JPEG": ([saved(PHOTO, "JPEG", progressive=True)], b"\xff\xd9"),
    "PNG": ([saved(PHOTO, "PNG"), saved(PHOTO, "PNG", mode="P")], saved(PHOTO, "PNG")[-12:]),
    "WEBP": ([saved(PHOTO, "WEBP"), saved(PHOTO, "WEBP", lossless=True)], b""),
    "AVIF": ([saved(PHOTO, "AVIF", speed=10)], b""),
    "GIF": ([saved(PHOTO, "GIF")], b"\0;"),
    "TIFF": (
        [
            saved(PHOTO, "TIFF", compression=kind)
            for kind in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits")
        ],
        b"",
    ),
    "BMP": ([saved(PHOTO, "BMP"), saved(PHOTO, "BMP", mode="P")], b""),
}
# libvips reads no BMP, whose pixels could be anything.
JUDGED = [format for format in FILES if format != "BMP"]
# The share of damaged images that may pass without a word.
SILENT = 0.01
SLOW_SECONDS = 5


def mutated(content: bytes, end: bytes, rng) -> bytes:
    """Cut, zero, flip, scramble, remove or double a part."""
    mutant, size = bytearray(content), len(content)
    start = int(rng.integers(1, size))
    stop = min(size, start + int(rng.integers(1, size // 4)))
    match int(rng.integers(7)):
        case 0:
            del mutant[start:]
        case 1:
            mutant[start:] = end
        case 2:
            mutant[start:stop] = bytes(stop - start)
        case 3:
            mutant[start] ^= 1 << int(rng.integers(8))
        case 4:
            mutant[start:stop] = rng.bytes(stop - start)
        case 5:
            del mutant[start:stop]
        case 6:
            mutant[start:start] = mutant[start:stop]
    return bytes(mutant)


def outcome(content: bytes) -> str:
    """Say what became of an image: "fine", "told" in a warning, or "refused"; anything else is a crash."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            decode(content, Frame((96, 160), resize="squash"))
        except ImageError:
            return "refused"
    return "told" if caught else "fine"


def damaged(content: bytes) -> bool:
    """Ask libvips, which refuses where it would warn."""
    import pyvips

    try:
        pyvips.Image.new_from_buffer(content, "", access="sequential", fail_on="warning").avg()
    except pyvips.Error:
        return True
    return False


@pytest.mark.parametrize(
    "count", [pytest.param(800, id="short"), pytest.param(5000, marks=pytest.mark.soak, id="long")]
)
def test_damage_passes_neither_as_a_crash_nor_unseen(count, capsys):
    pytest.importorskip("pyvips")
    seed = int(os.environ.get("HYBRID_SEED", time.time_ns() % 10**6))
    rng = np.random.default_rng(seed)
    with capsys.disabled():
        # Before anything can crash.
        print(f"\n{count} mutated images, HYBRID_SEED={seed}", end=": ", flush=True)
    silent, seen, slow = collections.Counter(), collections.Counter(), []
    for number in range(count):
        format = [*FILES][number % len(FILES)]
        files, end = FILES[format]
        original = files[rng.integers(len(files))]
        mutant = mutated(original, end, rng)
        start = time.thread_time()
        result = outcome(mutant)
        if time.thread_time() - start > SLOW_SECONDS:
            slow.append((format, number))
        if format in JUDGED and mutant != original and damaged(mutant):
            seen[format] += 1
            silent[format] += result == "fine"
    with capsys.disabled():
        print(
            f"crashes 0, hangs {len(slow)}, silent damage {silent.total()} of {seen.total()}", dict(+silent)
        )
    assert not slow, slow
    assert silent.total() <= SILENT * seen.total()


def test_the_judge_finds_the_unharmed_files_unharmed():
    pytest.importorskip("pyvips")
    for format in JUDGED:
        for content in FILES[format][0]:
            assert not damaged(content)
            assert outcome(content) == "fine"
