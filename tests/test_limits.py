"""What one image may cost, and all together: scans, pixels at a time, seconds."""

import struct
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from corpus import GREY, SCENE, saved, tiff
from PIL import Image

from hybrid.images import decoding, limits, opening, ppm
from hybrid.images.decoding import decode
from hybrid.images.frame import Frame
from hybrid.images.limits import BUDGET
from hybrid.images.pixels import ImageError

FRAME = Frame(size=SCENE.shape[:2], resize="squash")


def scanned(side: int, times: int) -> bytes:
    """Encode a progressive JPEG whose last scan comes so many times."""
    content = saved(Image.new("L", (side, side), 77), "JPEG", progressive=True)
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * times + content[-2:]


def test_a_jpeg_of_endless_scans_is_refused_at_once():
    start = time.thread_time()
    with pytest.raises(ImageError, match=r"\d+ scans of 4000 x 4000 pixels are over the limit of 125"):
        decode(scanned(4000, 2000), Frame((224, 224)))
    assert time.thread_time() - start < 2
    decode(scanned(100, 1), FRAME)


def comment(megabytes: int) -> bytes:
    return b"P6\n#" + b"x" * (megabytes << 20) + b"\n1 1 255\n\0\0\0"


def padding(megabytes: int) -> bytes:
    content = saved(SCENE, "JPEG")
    return content[:2] + b"\xff" * (megabytes << 20) + content[2:]


def empty_runs(megabytes: int) -> bytes:
    content = bytearray(saved(Image.fromarray(GREY), "BMP"))
    content[30] = 1
    return bytes(content[:1078]) + b"\0\2\0\0" * (megabytes << 18)


@pytest.mark.parametrize("slow", [comment, padding, empty_runs])
def test_a_file_that_takes_too_long_is_abandoned(slow, monkeypatch):
    monkeypatch.setattr(limits, "MAX_SECONDS", 0.1)
    start = time.thread_time()
    with pytest.raises(ImageError, match=r"not decoded within the limit of 0\.1 seconds"):
        decode(slow(8), FRAME)
    assert time.thread_time() - start < 1


def test_many_pixels_or_comments_as_text_are_refused(monkeypatch):
    head, numbers = b"P3 40 24 255\n", b" ".join(b"%d" % value for value in SCENE.ravel())
    assert (decode(head + numbers, FRAME)[0] == SCENE).all()
    with pytest.raises(ImageError, match="comments of text are over the limit of 1000: save as binary PPM"):
        decode(head + b"#\n" * 1001 + numbers, FRAME)
    monkeypatch.setattr(ppm, "MAX_TEXT", 1000)
    with pytest.raises(ImageError, match=r"\d+ bytes of text are over the limit of 1000"):
        decode(head + numbers, FRAME)


@pytest.mark.parametrize("most", [1, 100, 254, 256, 1023, 65534, 65535])
@pytest.mark.parametrize("kind", ["P5", "P6"])
def test_samples_of_odd_depths_are_scaled(kind, most):
    pixels = SCENE if kind == "P6" else GREY[..., None]
    samples = np.rint(pixels / 255 * most).astype(">u2" if most > 255 else "u1")
    content = f"{kind} 40 24 {most}\n".encode() + samples.tobytes()
    expected = np.rint(samples / most * 255)
    assert np.abs(decode(content, FRAME)[0] - expected).max() <= (most > 255)
    with pytest.raises(ImageError, match="truncated file"):
        decode(content[:-1], FRAME)


def test_threads_together_hold_no_more_pixels_than_the_limit(monkeypatch):
    held = []
    monkeypatch.setattr(limits, "MAX_PIXELS", 2500)
    monkeypatch.setattr(decoding, "views", lambda *args: (held.append(BUDGET.held), time.sleep(0.01)))
    contents = [saved(SCENE, format) for format in ("PNG", "WEBP", "JPEG", "AVIF", "GIF", "TIFF")] * 4
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(decode, contents, [FRAME] * len(contents)))
    assert max(held) > SCENE.size // 3
    assert max(held) <= 2500
    assert BUDGET.held == 0


def test_a_webp_waits_before_its_canvas_is_filled(monkeypatch):
    fed = []
    monkeypatch.setattr(opening, "Feed", lambda raw: fed.append(raw) or limits.Feed(raw))
    waiting = threading.Thread(target=decode, args=(saved(SCENE, "WEBP"), FRAME))
    with BUDGET.hold(limits.MAX_PIXELS):
        waiting.start()
        waiting.join(0.2)
        assert not fed
    waiting.join(20)
    assert len(fed) == 1


def test_pixels_are_given_back_whatever_happens():
    with pytest.raises(ImageError, match="damaged"), BUDGET.hold(2 * limits.MAX_PIXELS):
        raise ImageError("damaged")
    assert BUDGET.held == 0


@pytest.mark.parametrize("options", [{}, {"lossless": True}, {"save_all": True, "append_images": []}])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
@pytest.mark.parametrize("size", [(1, 1), (1, 300), (16383, 1)])
def test_a_webp_tells_its_size_before_it_is_opened(size, mode, options):
    options = {**options, "append_images": [Image.new(mode, size, 9)]} if "save_all" in options else options
    decode(saved(Image.new(mode, size), "WEBP", **options), FRAME)


def test_a_tile_larger_than_any_picture_is_refused():
    content = tiff(GREY.tobytes(), 40, 24, 8, 1)
    for tag, new in ((278, 322), (279, 323)):
        at = content.index(struct.pack("<HHI", tag, 4, 1))
        content = content[:at] + struct.pack("<HHII", new, 4, 1, 65520) + content[at + 12 :]
    with pytest.raises(ImageError, match="65520 x 65520 pixels are over the limit"):
        decode(content, FRAME)
