"""Pictures that decoders only warn of, or read as something else: the right pixels, or an error that says why."""

import io
import struct
import sys
import warnings

import numpy as np
import pytest
from corpus import ALPHA, GREY, OVER_WHITE, RGBA, SCENE, inks, saved
from PIL import Image

from hybrid.images.decoding import decode
from hybrid.images.frame import Frame
from hybrid.images.pixels import ImageError

FRAME = Frame(size=SCENE.shape[:2], resize="squash")
PHOTO = np.asarray(Image.fromarray(SCENE).resize((320, 192), Image.Resampling.BICUBIC))
JPEG = saved(PHOTO, "JPEG", quality=90)
END = b"\xff\xd9"


def middle(content: bytes, size: int = 40) -> bytes:
    """Zero what lies in the middle."""
    at = len(content) // 2
    return content[:at] + bytes(size) + content[at + size :]


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"mode": "L"}, {"mode": "CMYK"}], ids=str)
@pytest.mark.parametrize("size", [(24, 40), (200, 320)], ids=["reduced", "whole"])
def test_a_damaged_jpeg_is_an_error_although_libjpeg_goes_on(options, size):
    content = saved(PHOTO, "JPEG", **options)
    decode(content, Frame(size))
    start = content.index(b"\xff\xda") + 20
    tenth = content[: start + (len(content) - start) // 10] + END
    for damaged in (tenth, middle(content)):
        with pytest.raises(ImageError, match=r"damaged \(Corrupt JPEG data"):
            decode(damaged, Frame(size))


def test_a_damaged_jpeg_that_pillow_opened_is_an_error_too():
    with pytest.raises(ImageError, match="damaged"):
        decode(Image.open(io.BytesIO(middle(JPEG))), FRAME)
    lazy = Image.open(io.BytesIO(JPEG))
    assert (
        decode(lazy, FRAME) == decode(Image.fromarray(np.asarray(Image.open(io.BytesIO(JPEG)))), FRAME)
    ).all()


def test_a_few_bytes_too_many_pass_with_a_warning():
    content = JPEG[:-2] + bytes(16) + END
    with pytest.warns(RuntimeWarning, match=r"small fault: .* extraneous bytes before marker 0xd9"):
        got = decode(content, FRAME)
    assert (got == decode(JPEG, FRAME)).all()
    with pytest.raises(ImageError, match="extraneous bytes"):
        decode(JPEG[:-2] + bytes(99) + END, FRAME)


@pytest.mark.parametrize(
    ("mark", "at", "fault"), [(b"ICC_PROFILE", 12, "bad ICC marker"), (b"JFIF", 5, "JFIF revision")]
)
def test_a_small_fault_of_the_header_passes_with_a_warning(mark, at, fault):
    content = bytearray(saved(PHOTO, "JPEG", icc_profile=bytes(3000)))
    expected = decode(bytes(content), FRAME)
    content[content.index(mark) + at] = 9
    with pytest.warns(RuntimeWarning, match=fault):
        assert (decode(bytes(content), FRAME) == expected).all()


@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}], ids=str)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_jpeg_pixels_are_those_of_pillow(mode, options, subsampling):
    content = saved(PHOTO, "JPEG", mode=mode, subsampling=subsampling, **options)
    expected = Image.open(io.BytesIO(content))
    expected.load()
    for size in ((192, 320), (24, 40)):
        frame = Frame(size, resize="squash", interpolation="nearest")
        assert (decode(content, frame) == decode(expected, frame)).all()


def test_a_damaged_avif_is_an_error_where_libvips_is_installed(monkeypatch):
    pytest.importorskip("pyvips")
    content = saved(PHOTO, "AVIF", speed=10)
    decode(content, FRAME)
    with pytest.raises(ImageError, match=r"damaged \(corrupt frame\)"):
        decode(middle(content, 9), FRAME)
    monkeypatch.setitem(sys.modules, "pyvips", None)
    decode(content, FRAME)


def tiff(channels: np.ndarray, photometric: int, planar: int, order: str, packed=False, **tags) -> bytes:
    """Encode (h, w, n) with a strip a plane, or one strip."""
    height, width, n = channels.shape
    parts = [channels[..., i] for i in range(n)] if planar == 2 else [channels]
    parts = [np.ascontiguousarray(part, channels.dtype.newbyteorder(order)).tobytes() for part in parts]
    parts = [runs(part) for part in parts] if packed else parts
    kind = {"u": 1, "i": 2, "f": 3}[channels.dtype.kind]
    offsets = np.cumsum([8, *map(len, parts)])
    values = {
        256: [width], 257: [height], 258: [8 * channels.itemsize] * n, 259: [32773 if packed else 1],
        262: [photometric], 273: offsets[:-1], 277: [n], 278: [height], 279: [*map(len, parts)],
        284: [planar], 339: [kind] * n,
    }  # fmt: skip
    values |= {338: [2]} if n in (2, 4) and photometric != 5 else {}
    tables, entries, at = b"", b"", int(offsets[-1])
    for tag, numbers in sorted(values.items()):
        data = struct.pack(f"{order}{len(numbers)}I", *map(int, numbers))
        entries += struct.pack(f"{order}HHI", tag, 4, len(numbers))
        entries += data if len(data) == 4 else struct.pack(f"{order}I", at + len(tables))
        tables += data if len(data) > 4 else b""
    directory = struct.pack(f"{order}H", len(values)) + entries + bytes(4)
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", at + len(tables))
    return head + b"".join(parts) + tables + directory


def runs(data: bytes) -> bytes:
    """Pack by PackBits: literal bytes, 100 at a time."""
    return b"".join(bytes([len(data[i : i + 100]) - 1]) + data[i : i + 100] for i in range(0, len(data), 100))


CHANNELS = {
    "RGB": (SCENE, 2, SCENE),
    "RGBA": (RGBA, 2, OVER_WHITE),
    "CMYK": (np.asarray(inks()), 5, SCENE),
    "grey": (GREY[..., None], 1, np.dstack([GREY] * 3)),
    "grey and alpha": (np.stack([GREY, ALPHA], axis=-1), 1, None),
}


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("planar", [1, 2])
@pytest.mark.parametrize("depth", ["u1", "u2", "i1", "i2"])
@pytest.mark.parametrize("kind", CHANNELS)
def test_a_tiff_of_any_layout_has_its_pixels_or_an_error(kind, depth, planar, order):
    channels, photometric, expected = CHANNELS[kind]
    deep = {"u1": channels, "u2": channels.astype("u2") * 257, "i1": (channels >> 1).astype("i1")}
    content = tiff(deep.get(depth, channels.astype("i2") * 128), photometric, planar, order)
    typed = depth[0] == "i" or (kind == "grey and alpha" and (planar, depth) != (1, "u1"))
    if typed:
        with pytest.raises(ImageError, match=r"signed samples|separate planes|unknown pixel mode"):
            decode(content, FRAME)
    elif expected is not None:
        assert np.abs(decode(content, FRAME)[0].astype(int) - expected).max() <= 1


@pytest.mark.parametrize("order", "<>")
def test_compressed_floats_of_either_byte_order_are_the_same(order):
    content = tiff((GREY / np.float32(255))[..., None], 1, 1, order, packed=True)
    assert (decode(content, FRAME, value_range=(0, 1))[0] == GREY[..., None]).all()


def test_packbits_that_unpack_to_too_much_are_damage():
    content = tiff(SCENE, 2, 1, "<", packed=True)
    assert (decode(content, FRAME)[0] == SCENE).all()
    with pytest.raises(ImageError, match=r"damaged \(a strip of 2880 bytes unpacks to 29\d\d\)"):
        decode(content[:8] + bytes([127]) + content[9:], FRAME)


def test_no_real_photograph_is_accused(photographs):
    paths = sorted(photographs.glob("*/*/*.jpg"))[::10]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for path in paths:
            decode(path.read_bytes(), Frame((32, 32)))
