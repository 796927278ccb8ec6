"""Images of every kind: batches, digests, pixels, geometry, and what is said of bad ones."""

import base64
import http.server
import io
import os
import pathlib
import threading
import time
import types
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pytest
from PIL import Image, JpegImagePlugin

from hybrid import ResNetFeaturizer, load_folder
from hybrid.images import decoding as images
from hybrid.images import limits, source
from hybrid.images.decoding import decode, digest
from hybrid.images.frame import Frame
from hybrid.images.items import as_items, listing, name, raise_for
from hybrid.images.pixels import ImageError
from hybrid.images.source import read

PHOTO = np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8)


def photo(height, width):
    """Draw a smooth picture with some detail."""
    image = Image.fromarray(PHOTO).resize((width // 8, height // 8), Image.Resampling.BICUBIC)
    noise = np.random.default_rng(1).normal(0, 8, (height // 8, width // 8, 3))
    detailed = np.clip(np.asarray(image) + noise, 0, 255).astype(np.uint8)
    return np.asarray(Image.fromarray(detailed).resize((width, height), Image.Resampling.BICUBIC))


def encode(image, format="JPEG", **options):
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def whole(raw, value_range=None):
    """Decode at the picture's own size."""
    size = raw.size[::-1] if isinstance(raw, Image.Image) else raw.shape[:2]
    return decode(raw, Frame(size, resize="squash"), value_range)[0]


def difference(a, b):
    return np.abs(np.asarray(a, int) - np.asarray(b, int))


# Batches


def test_lists_and_arrays_are_not_copied():
    mixed = ["a.jpg", pathlib.Path("b.jpg"), b"...", Image.new("L", (2, 2)), PHOTO, None]
    colour, grey, objects = np.zeros((5, 4, 6, 3)), np.zeros((5, 4, 6)), np.array(["a", b"b", None], object)
    assert as_items(mixed) is mixed
    assert as_items(tuple(mixed)) == tuple(mixed)
    for batch in (colour, grey, objects, np.array(["a", "b"])):
        items = as_items(batch)
        assert items is batch
        assert len(list(items)) == len(batch)


def test_tables_with_one_column_are_their_column():
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    expected = ["a.jpg", "b.jpg"]
    series = pandas.Series(expected, index=[7, 3])
    tables = [
        series,
        series.astype("category"),
        series.to_frame("image"),
        polars.DataFrame({"image": expected}),
    ]
    for table in [*tables, polars.Series(expected), np.array(expected, object)[:, None]]:
        assert list(as_items(table)) == expected


@pytest.mark.parametrize(
    ("batch", "match"),
    [
        (None, "Got None, but expected a list of paths"),
        ({"a": 1}, "but expected a list of paths"),
        (3, "Got 3, but expected a list"),
        ((path for path in ["a"]), r"Got <generator.*pass list\(X\)"),
        (iter(["a"]), r"pass list\(X\)"),
        ({"a.jpg"}, r"pass list\(X\)"),
        ("cat.jpg", r"Got one image, 'cat.jpg'.* Wrap it in a list: \[X\]"),
        (pathlib.Path("cat.jpg"), "Wrap it in a list"),
        (b"abc", "Got one image, 3 bytes"),
        (Image.new("RGB", (4, 3)), "Got one image, PIL image RGB 4x3"),
        (PHOTO, r"shape \(12, 16, 3\).*Pass \[X\] if it is one colour picture"),
        (np.zeros((150, 4)), r"shape \(150, 4\) and dtype float64.*Reshape rows of pixels"),
        (np.zeros(7), r"shape \(7,\).*expected images"),
        (np.zeros((2, 3, 20, 20)), r"channels, last\. Use np\.moveaxis\(X, 1, -1\)"),
        (np.zeros((2, 20, 20, 2)), "expected 1, 3 or 4 channels"),
        (np.zeros((2, 2, 20, 20, 3)), "expected images"),
        (np.zeros((2, 4, 4, 3), complex), "complex128, but expected numbers"),
        (np.array([b"a", b"b"]), "dtype |S1, but expected numbers, or objects such as paths"),
        (np.array([["a", "b"]]), "expected one image a row"),
        ([], "Got no images"),
        (np.zeros((0, 4, 4, 3)), "Got no images"),
        ([[1, 2], [3, 4]], r"Got \[1, 2\] as item 0, but expected a path"),
        (["a.jpg", 3.5], "Got 3.5 as item 1"),
        (np.array([1, 2], object), "Got 1 as item 0"),
    ],
)
def test_what_is_no_batch_of_images_is_refused(batch, match):
    with pytest.raises((TypeError, ValueError), match=match):
        as_items(batch)


def test_a_table_of_several_columns_asks_for_one():
    table = pytest.importorskip("pandas").DataFrame({"image": ["a"], "age": [3]})
    with pytest.raises(ValueError, match=r"2 columns \['image', 'age'\].*X\[\['image'\]\]"):
        as_items(table)


def test_a_folder_or_a_pattern_no_longer_leads_in_a_circle(tmp_path, monkeypatch):
    """Once "Wrap it in a list", and then "is a directory"."""
    monkeypatch.chdir(tmp_path)
    os.mkdir("photos")
    for folder in ("photos", pathlib.Path("photos")):
        with pytest.raises(
            TypeError, match=r"Got a folder, 'photos', .*hybrid\.load_folder\('photos'\)\['image'\]"
        ):
            as_items(folder)
        with pytest.raises(ImageError, match=r"is a directory; hybrid\.load_folder lists its images"):
            read(folder)
    with pytest.raises(
        TypeError, match=r"Got a pattern, 'photos/\*\.jpg', .*load_folder\('photos/\*\.jpg'\)"
    ):
        as_items("photos/*.jpg")
    with pytest.raises(ImageError, match=r"no such file; hybrid\.load_folder lists what a pattern matches"):
        read("photos/*.jpg")


def test_tables_that_are_read_otherwise_name_the_way():
    polars, pyarrow = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    with pytest.raises(TypeError, match=r"LazyFrame.*X\.collect\(\)"):
        as_items(polars.LazyFrame({"image": ["a.jpg"]}))
    with pytest.raises(TypeError, match=r"Got a Table of the columns \['image', 'label'\].*X\['image'\]"):
        as_items(pyarrow.table({"image": ["a.jpg"], "label": ["a"]}))
    stream = types.SimpleNamespace(column_names=["image"], __len__=None)
    with pytest.raises(TypeError, match=r"X\['image'\]"):
        as_items(stream)


class Column(Sequence):
    """As a column of Hugging Face's datasets: it decodes an item whenever it is asked for."""

    def __init__(self, items):
        self.items, self.asked = items, 0

    def __len__(self):
        return len(self.items)

    def __getitem__(self, i):
        self.asked += 1
        return self.items[i]


class Tensor:
    """As torch's and TensorFlow's: no array, but made one."""

    def __init__(self, values):
        self.values, self.shape, self.dtype = values, values.shape, values.dtype

    def __array__(self, dtype=None, copy=None):
        return self.values

    def __len__(self):
        return len(self.values)


PNG = encode(Image.fromarray(PHOTO), "PNG")
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()
KINDS = {
    "a list of paths": lambda folder: [f"{folder}/a.png", f"{folder}/a.png"],
    "pathlib paths": lambda folder: [folder / "a.png"],
    "a tuple": lambda folder: (folder / "a.png", PNG),
    "URLs": lambda folder: [(folder / "address.txt").read_text()],
    "data: URIs": lambda folder: [URI],
    "bytes": lambda folder: [PNG],
    "bytearray, memoryview": lambda folder: [bytearray(PNG), memoryview(PNG)],
    "BytesIO": lambda folder: [io.BytesIO(PNG)],
    "PIL images": lambda folder: [Image.fromarray(PHOTO)],
    "arrays of any size": lambda folder: [PHOTO, PHOTO],
    "tensors": lambda folder: [Tensor(PHOTO)],
    "an array (n, h, w, 3)": lambda folder: PHOTO[None],
    "a tensor (n, h, w, 3)": lambda folder: Tensor(PHOTO[None]),
    "an array of objects": lambda folder: np.array([str(folder / "a.png")], object),
    "a pandas Series": lambda folder: pd.Series([str(folder / "a.png")], index=["x"]),
    "a pandas DataFrame of one column": lambda folder: pd.DataFrame({"image": [PNG]}),
    "a polars Series": lambda folder: pl.Series([str(folder / "a.png")]),
    "a polars Series of bytes": lambda folder: pl.Series([PNG]),
    "a polars DataFrame of one column": lambda folder: pl.DataFrame({"image": [str(folder / "a.png")]}),
    "a pyarrow column": lambda folder: pa.table({"image": [PNG]})["image"],
    "a pyarrow column of structs": lambda folder: pa.table({"image": [{"bytes": PNG, "path": "a.png"}]})[
        "image"
    ],
    "a Hugging Face column, decoded": lambda folder: Column([Image.fromarray(PHOTO)]),
    "a Hugging Face column, encoded": lambda folder: Column([{"bytes": PNG, "path": None}]),
    "a Hugging Face column of paths": lambda folder: Column([{"bytes": None, "path": str(folder / "a.png")}]),
    "an unlabelled folder": lambda folder: load_folder(folder)["image"],
}


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A folder whose picture a server on this machine has, too."""
    monkeypatch.setenv("HYBRID_PRIVATE_URLS", "1")
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever).start()
        (tmp_path / "a.png").write_bytes(PNG)
        (tmp_path / "address.txt").write_text(f"http://127.0.0.1:{server.server_port}/a.png")
        yield tmp_path
        server.shutdown()


@pytest.mark.parametrize("kind", KINDS)
def test_images_of_every_kind_are_the_same_picture(kind, served):
    items = as_items(KINDS[kind](served))
    assert len(items) > 0
    frame = Frame(PHOTO.shape[:2], resize="squash")
    for item in items:
        assert (decode(read(item), frame)[0] == PHOTO).all()
        assert len(name(item)) < 200
    rows = ResNetFeaturizer("tiny", store=None).fit_transform(KINDS[kind](served))
    assert np.array_equal(rows, ResNetFeaturizer("tiny", store=None).fit_transform([PHOTO] * len(rows)))


def test_every_kind_of_images_stands_in_the_docs():
    text = (pathlib.Path(__file__).parents[1] / "docs" / "inputs.md").read_text(encoding="utf-8")
    assert not [kind for kind in KINDS if f"| {kind} |" not in text]


def test_a_column_that_decodes_is_asked_once_an_image():
    column = Column([PHOTO, PHOTO])
    ResNetFeaturizer("tiny", store=None).fit(column).transform(column)
    assert column.asked <= 3 * len(column)


@pytest.mark.parametrize(
    ("item", "match"),
    [
        ("data:image/png;base64,####", "damaged base64"),
        ({"label": 3}, "dict is no path, bytes, PIL image or array"),
        (3.5, "float is no path"),
        ({"bytes": None, "path": None}, "no image"),
    ],
)
def test_what_a_sequence_holds_besides_images_is_told_when_it_is_read(item, match):
    with pytest.raises(ImageError, match=match):
        read(as_items(Column([item]))[0])


# Reading


def test_paths_are_read_and_the_rest_is_passed_on(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"content")
    assert read(tmp_path / "a.jpg") == read(str(tmp_path / "a.jpg")) == b"content"
    for item in (b"content", PHOTO, Image.new("L", (2, 2))):
        assert read(item) is item


@pytest.mark.parametrize(
    ("item", "match"),
    [
        (None, "no image"),
        (float("nan"), "no image"),
        ("a\0b.jpg", "cannot be opened"),
        ("x" * 5000, "file name too long"),
        (__file__ + "/a.jpg", "not a directory"),
        ("file:///a.jpg", "no such file"),
        (np.array(["a"]), "dtype <U1, but expected numbers"),
    ],
)
def test_what_cannot_be_read_says_why(item, match):
    with pytest.raises(ImageError, match=match):
        read(item)


def test_a_missing_value_of_pandas_is_no_image():
    with pytest.raises(ImageError, match="no image"):
        read(pytest.importorskip("pandas").NA)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs pipes")
def test_a_pipe_that_takes_the_place_of_a_file_is_not_waited_for(tmp_path, monkeypatch):
    os.mkfifo(tmp_path / "a.jpg")
    regular = os.stat(__file__)
    monkeypatch.setattr(source.os, "stat", lambda path: regular)
    with pytest.raises(ImageError, match="not a regular file"):
        read(tmp_path / "a.jpg")


def test_a_huge_file_is_refused_before_it_is_read(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(bytes(11))
    monkeypatch.setattr(source, "MAX_BYTES", 10)
    with pytest.raises(ImageError, match="11 bytes are over the limit of 10"):
        read(tmp_path / "a.jpg")


# Digests


def test_equal_content_has_one_digest():
    padded = np.zeros((12, 32, 3), np.uint8)
    padded[:, ::2] = PHOTO
    assert digest(padded[:, ::2]) == digest(PHOTO.copy()) == digest(np.asfortranarray(PHOTO))
    assert digest(b"content") == digest(bytes(bytearray(b"content"))) != digest(b"contenT")
    assert digest(Image.fromarray(PHOTO)) == digest(Image.fromarray(PHOTO.copy()))
    assert len(digest(b"")) == 16


def test_other_pixels_never_share_a_digest():
    palette = Image.fromarray(PHOTO).quantize(16)
    others = palette.copy()
    others.putpalette([*range(48)])
    clear = palette.copy()
    clear.info["transparency"] = 0
    turned = Image.fromarray(PHOTO)
    turned.getexif()[274] = 6
    floats = np.float32(PHOTO) / 255
    grey = np.zeros((4, 4), np.uint8)
    deep = Image.fromarray(np.full((4, 4), 300, np.int32))
    digests = [
        *(digest(raw) for raw in (PHOTO, PHOTO[:, ::-1], PHOTO.reshape(16, 12, 3), PHOTO.view(np.int8))),
        *(digest(floats, scale) for scale in (None, (0, 1), (0, 255))),
        *(
            digest(raw)
            for raw in (grey, grey[..., None], grey.reshape(2, 8), grey.view(bool), grey.tobytes())
        ),
        *(digest(raw) for raw in (palette, others, clear, turned, Image.fromarray(PHOTO))),
        *(digest(deep, scale) for scale in (None, (0, 300), (0, 600))),
    ]
    assert len(set(digests)) == len(digests)
    assert digest(floats, (0, 1)) == digest(floats, (0.0, 1.0))
    assert digest(PHOTO, (0, 1)) == digest(PHOTO)


# Pixels


@pytest.mark.parametrize(
    ("pixels", "value_range"),
    [
        (PHOTO.astype(np.int64), None),
        (PHOTO.astype(">i2"), None),
        (PHOTO.astype(np.uint16) * 257, None),
        (PHOTO.astype(">u2") * np.uint16(257), None),
        (PHOTO / 255, (0, 1)),
        ((PHOTO / 255).astype(np.float32), (0, 1)),
        (PHOTO.astype(np.float16), (0, 255)),
        (PHOTO / 127.5 - 1, (-1, 1)),
        (PHOTO[..., ::-1][..., ::-1], None),
        (np.asfortranarray(PHOTO), None),
        (np.dstack([PHOTO, np.full(PHOTO.shape[:2], 255, np.uint8)]), None),
    ],
)
def test_arrays_of_every_kind_are_the_same_picture(pixels, value_range):
    before = pixels.copy()
    assert (whole(pixels, value_range) == PHOTO).all()
    assert (pixels == before).all()


def test_grey_and_boolean_arrays_become_rgb():
    grey = PHOTO[..., 0]
    expected = np.dstack([grey] * 3)
    assert (whole(grey) == expected).all()
    assert (whole(grey[..., None]) == expected).all()
    assert (whole(grey > 99) == 255 * (expected > 99)).all()


def test_transparent_arrays_lie_over_white():
    pixels = np.zeros((1, 3, 4))
    pixels[..., 3] = 0, 0.6, 1
    assert whole(pixels, (0, 1))[0, :, 0].tolist() == [255, 102, 0]


@pytest.mark.parametrize(
    ("pixels", "value_range", "match"),
    [
        (PHOTO / 255, None, r"float64 pixels from 0 to 1 could.*value_range=\(0, 1\) or \(0, 255\)"),
        (PHOTO * 1.0, (0, 1), r"pixel value \d+ is outside value_range=\(0, 1\)"),
        (np.full((2, 2), np.nan), (0, 1), "pixel value nan is outside"),
        (np.array([[0, np.nan]]), None, "^float64 pixels hold NaN, but expected numbers: fill it in$"),
        (np.full((2, 2), np.inf), (0, 255), "pixel value inf is outside"),
        (np.full((2, 2), -0.01), (0, 1), "pixel value -0.01 is outside"),
        (np.full((2, 2), 256), None, "pixel value 256 is outside 0 to 255, as expected of int64"),
        (np.full((2, 2), -1, np.int8), None, "pixel value -1 is outside"),
        (np.zeros((3, 20, 30), np.uint8), None, r"channels first; use np.moveaxis\(image, 0, -1\)"),
        (np.zeros((20, 30, 2), np.uint8), None, "with 1, 3 or 4 channels"),
        (np.zeros(30, np.uint8), None, r"shape \(30,\), but expected"),
        (np.zeros((0, 30, 3), np.uint8), None, "30 x 0 pixels, but expected at least one"),
        (Image.new("RGB", (0, 5)), None, "0 x 5 pixels"),
        (Image.fromarray(np.float32([[0.5]])), None, "float32 pixels from 0.5 to 0.5 could"),
        (Image.fromarray(np.int32([[70000]])), None, r"32-bit samples from 70000.*value_range"),
        (Image.fromarray(np.int32([[-1]])), None, "32-bit samples from -1"),
        (Image.fromarray(np.int32([[200]])), None, "could mean any brightness"),
    ],
)
def test_pixels_without_a_sure_meaning_are_refused(pixels, value_range, match):
    with pytest.raises(ImageError, match=match):
        decode(pixels, Frame((4, 4)), value_range)


@pytest.mark.parametrize(
    ("image", "expected", "value_range"),
    [
        (Image.new("1", (2, 2), 1), (255, 255, 255), None),
        (Image.new("L", (2, 2), 7), (7, 7, 7), None),
        (Image.new("LA", (2, 2), (0, 51)), (204, 204, 204), None),
        (Image.new("La", (2, 2), (0, 51)), (204, 204, 204), None),
        (Image.new("RGBA", (2, 2), (0, 255, 0, 51)), (204, 255, 204), None),
        (Image.new("RGBa", (2, 2), (0, 51, 0, 51)), (204, 255, 204), None),
        (Image.new("RGBX", (2, 2), (1, 2, 3, 0)), (1, 2, 3), None),
        (Image.new("CMYK", (2, 2), (255, 0, 0, 0)), (0, 255, 255), None),
        (Image.new("YCbCr", (2, 2), (255, 128, 128)), (255, 255, 255), None),
        (Image.new("HSV", (2, 2), (0, 255, 255)), (255, 0, 0), None),
        (Image.new("LAB", (2, 2), (255, 128, 128)), (255, 255, 255), None),
        (Image.new("I;16", (2, 2), 257 * 9), (9, 9, 9), None),
        (Image.new("I;16B", (2, 2), 257 * 9), (9, 9, 9), None),
        (Image.new("I", (2, 2), 257 * 9), (9, 9, 9), None),
        (Image.new("I", (2, 2), 9), (9, 9, 9), (0, 255)),
        (Image.new("F", (2, 2), 0.6), (153, 153, 153), (0, 1)),
    ],
    ids=lambda value: getattr(value, "mode", None),
)
def test_pil_images_of_every_mode_become_rgb(image, expected, value_range):
    assert difference(whole(image, value_range), expected).max() <= 1


@pytest.mark.parametrize("format", ["TIFF", "PPM"])
def test_float_files_are_scaled_by_the_value_range(format):
    content = encode(Image.fromarray(np.float32(PHOTO[..., 0]) / 255), format)
    got = decode(content, Frame((12, 16), resize="squash"), value_range=(0, 1))[0]
    assert (got == PHOTO[..., :1]).all()


def test_a_picture_of_the_caller_is_left_as_it_was():
    palette = Image.fromarray(PHOTO).quantize(16)
    palette.info["transparency"] = bytes(range(16))
    turned = Image.fromarray(PHOTO)
    turned.getexif()[274] = 6
    lazy = Image.open(io.BytesIO(encode(Image.fromarray(photo(800, 800)))))
    for image in (palette, turned, lazy):
        before = image.copy()
        digest(image)
        decode(image, Frame((8, 8)))
        assert (image.size, image.info, image.tobytes()) == (before.size, before.info, before.tobytes())
        assert image.getpalette("RGBA") == before.getpalette("RGBA")


def test_pixels_come_in_fresh_memory_of_their_own():
    pixels = PHOTO.copy()
    pixels.flags.writeable = False
    views = decode(pixels, Frame((12, 16), resize="squash", views=3))
    assert views.flags.c_contiguous
    assert views.flags.writeable
    views[:] = 0
    assert (pixels == PHOTO).all()


def test_one_lazy_picture_in_many_threads():
    content = encode(Image.fromarray(photo(400, 400)), "PNG")
    expected = decode(content, Frame((32, 32)))
    for _ in range(5):
        lazy = Image.open(io.BytesIO(content))
        with ThreadPoolExecutor(8) as pool:
            assert all(
                (views == expected).all() for views in pool.map(decode, [lazy] * 8, [Frame((32, 32))] * 8)
            )


def test_any_failure_of_a_decoder_is_an_image_error(monkeypatch):
    def fail(*args):
        raise MemoryError

    monkeypatch.setattr(images, "views", fail)
    with pytest.raises(ImageError, match=r"damaged or unsupported \(MemoryError\)"):
        decode(PHOTO, Frame((8, 8)))


def test_a_closed_picture_is_an_image_error(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        pass
    with pytest.raises(ImageError, match="damaged or unsupported"):
        decode(image, Frame((8, 8)))


def test_the_pixel_limit_is_our_own(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 50)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for format in ("JPEG", "PNG", "BMP", "GIF", "PPM", "AVIF"):
            assert decode(encode(Image.new("L", (11, 10)), format), Frame((8, 8))).max() == 0
    monkeypatch.setattr(limits, "MAX_PIXELS", 100)
    for raw in (encode(Image.new("L", (11, 10))), Image.new("L", (11, 10)), np.zeros((10, 11), np.uint8)):
        with pytest.raises(ImageError, match="11 x 10 pixels are over the limit of 100"):
            decode(raw, Frame((8, 8)))


# Geometry


def crop_in_two_steps(pixels, frame, corner=None):
    """Resize, then cut: what "crop" is by definition."""
    canvas = frame.canvas(pixels.shape[1], pixels.shape[0])
    image = Image.fromarray(pixels).resize(canvas, Image.Resampling[frame.interpolation.upper()])
    (h, w), (across, down) = frame.size, canvas
    left, top = round((across - w) / 2), round((down - h) / 2)
    if corner is not None:
        left, top = (0, across - w)[corner % 2], (0, down - h)[corner // 2]
    return np.asarray(image)[top : top + h, left : left + w]


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
@pytest.mark.parametrize("shape", [(375, 500), (500, 333), (64, 64), (80, 1200), (40, 56)])
@pytest.mark.parametrize("size", [(56, 56), (56, 80), (64, 33)])
def test_a_crop_is_resize_then_centre_crop(shape, size, interpolation):
    pixels, frame = photo(*shape), Frame(size, interpolation=interpolation)
    off = difference(decode(pixels, frame)[0], crop_in_two_steps(pixels, frame))
    assert off.mean() < 0.1
    assert off.max() <= 4


@pytest.mark.parametrize(("width", "height"), [(500, 375), (300, 100), (100, 300), (224, 224), (33, 77)])
def test_the_canvas_is_rounded_as_torchvision_rounds_it(width, height):
    short, long = 256, int(256 * max(width, height) / min(width, height))
    expected = (long, short) if width >= height else (short, long)
    assert Frame((224, 224)).canvas(width, height) == expected


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
def test_a_picture_of_the_right_size_is_left_as_it_is(resize):
    pixels = photo(80, 112)
    views = decode(pixels, Frame((80, 112), resize=resize, views=2))
    assert (views[0] == pixels).all()
    assert (views[1] == pixels[:, ::-1]).all()


def test_a_turned_picture_of_the_right_size_is_left_as_it_is():
    exif = Image.Exif()
    exif[274] = 6
    content = encode(Image.fromarray(photo(112, 80)), exif=exif, quality=95)
    upright = np.rot90(np.asarray(Image.open(io.BytesIO(content))), -1)
    assert (decode(content, Frame((80, 112)))[0] == upright).all()


def test_the_corners_of_a_picture_of_the_right_size_come_from_the_scaled_one():
    pixels, frame = photo(56, 56), Frame((56, 56), views=10)
    views = decode(pixels, frame)
    for corner in range(4):
        assert difference(views[2 * corner + 2], crop_in_two_steps(pixels, frame, corner)).max() <= 1


def test_squash_shows_the_whole_picture():
    pixels = photo(80, 112)
    expected = Image.fromarray(pixels).resize((48, 40), Image.Resampling.BICUBIC)
    assert (decode(pixels, Frame((40, 48), resize="squash"))[0] == expected).all()


@pytest.mark.parametrize(
    ("shape", "rows", "columns"), [((40, 80), (16, 48), (0, 64)), ((80, 40), (0, 64), (16, 48))]
)
def test_pad_centres_the_whole_picture_on_black(shape, rows, columns):
    pixels = np.full((*shape, 3), 200, np.uint8)
    expected = np.zeros((64, 64, 3), np.uint8)
    expected[slice(*rows), slice(*columns)] = 200
    assert (decode(pixels, Frame((64, 64), resize="pad"))[0] == expected).all()


def test_views_are_the_centre_and_the_corners_each_with_its_mirror():
    pixels, frame = photo(120, 160), Frame((56, 56), views=10)
    views = decode(pixels, frame)
    for i, corner in enumerate([None, 0, 1, 2, 3]):
        assert difference(views[2 * i], crop_in_two_steps(pixels, frame, corner)).max() <= 1
    assert (views[1::2] == views[::2, :, ::-1]).all()


@pytest.mark.parametrize("views", range(1, 10))
def test_fewer_views_are_the_first_of_all(views):
    pixels = photo(120, 160)
    assert (
        decode(pixels, Frame((24, 24), views=views)) == decode(pixels, Frame((24, 24), views=10))[:views]
    ).all()


@pytest.mark.parametrize("resize", ["squash", "pad"])
def test_corners_of_a_whole_picture_are_cut_from_a_larger_one(resize):
    pixels = photo(120, 160)
    views = decode(pixels, Frame((40, 40), resize=resize, margin=1.25, views=10))
    larger = decode(pixels, Frame((50, 50), resize=resize))[0]
    cuts = larger[:40, :40], larger[:40, 10:], larger[10:, :40], larger[10:, 10:]
    for view, cut in zip(views[2::2], cuts, strict=True):
        # A black bar's edge may fall between two pixels.
        assert difference(view, cut).mean() < (0.2 if resize == "squash" else 3)


@pytest.mark.parametrize("resize", ["crop", "squash", "pad"])
@pytest.mark.parametrize("shape", [(1, 1), (1, 5000), (5000, 1), (2, 3)])
def test_extreme_shapes_still_fill_the_frame(shape, resize):
    views = decode(np.full(shape, 9, np.uint8), Frame((24, 32), resize=resize, views=10))
    assert views.shape == (10, 24, 32, 3)
    assert views.max() == 9


# Large JPEGs


def undrafted(content, frame, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda self, mode, size: None)
        return decode(content, frame)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_reduced_decode_does_not_show(mode, orientation, monkeypatch):
    exif = Image.Exif()
    exif[274] = orientation
    image = Image.fromarray(photo(1003, 1501)).convert(mode)
    content, frame = encode(image, exif=exif, quality=92), Frame((80, 64), views=4)
    got, expected = decode(content, frame), undrafted(content, frame, monkeypatch)
    assert (got != expected).any()
    assert difference(got, expected).mean() < 1
    assert difference(got, expected).max() <= 16


def test_a_reduced_decode_of_twelve_megapixels_is_faster_and_the_same(monkeypatch):
    content, frame = encode(Image.fromarray(photo(3000, 4000))), Frame((224, 224))

    def seconds(run):
        start = time.perf_counter()
        result = run()
        return time.perf_counter() - start, result

    fast, got = min((seconds(lambda: decode(content, frame)) for _ in range(3)), key=lambda pair: pair[0])
    slow, expected = seconds(lambda: undrafted(content, frame, monkeypatch))
    assert difference(got, expected).mean() < 0.5
    assert fast < slow


def test_nearest_never_decodes_at_reduced_size(monkeypatch):
    content, frame = encode(Image.fromarray(photo(800, 800))), Frame((32, 32), interpolation="nearest")
    assert (decode(content, frame) == undrafted(content, frame, monkeypatch)).all()


# Messages


@pytest.mark.parametrize(
    ("item", "expected"),
    [
        ("cats/7.jpg", "'cats/7.jpg'"),
        (np.str_("cats/7.jpg"), "'cats/7.jpg'"),
        (pathlib.Path("7.jpg"), "'7.jpg'"),
        ("new\nline.jpg", "'new\\nline.jpg'"),
        (b"1234", "4 bytes"),
        (PHOTO, "array (12, 16, 3) uint8"),
        (Image.new("L", (3, 2)), "PIL image L 3x2"),
        (None, "None"),
    ],
)
def test_items_have_short_names(item, expected):
    assert name(item) == expected


def test_a_picture_from_a_file_is_named_by_it(tmp_path):
    Image.fromarray(PHOTO).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert name(image) == f"PIL image RGB 16x12 {str(tmp_path / 'a.png')!r}"


NAN = "or pass on_error='nan' if all later steps take NaN."


@pytest.mark.parametrize(
    ("failures", "expected"),
    [
        (
            [(12, "cats/7.jpg", "truncated file")],
            f"Cannot decode 'cats/7.jpg' (item 12): truncated file. Remove it, {NAN}",
        ),
        (
            [(3, "a.jpg", "no such file"), (5, "b.jpg", "no such file")],
            "Cannot decode 'a.jpg' (item 3), 'b.jpg' (item 5): no such file. Check their paths, " + NAN,
        ),
        (
            [(3, "a.jpg", "no such file"), (5, "b.jpg", "empty file")],
            "Cannot decode 'a.jpg' (item 3): no such file.\nCannot decode 'b.jpg' (item 5): empty file. "
            f"Remove them, {NAN}",
        ),
    ],
)
def test_failures_are_a_line_a_cause(failures, expected):
    with pytest.raises(ImageError) as caught:
        raise_for(failures)
    assert str(caught.value) == expected
    assert caught.value.failures == tuple(failures)


def test_of_one_cause_ten_images_are_named_and_the_rest_counted():
    """Figures apart, it is one cause; it had a line an image."""
    text = listing([(i, f"{i}.jpg", f"{i} x 9 pixels are over the limit of 5e+06") for i in range(51)])
    assert text.startswith("Cannot decode '0.jpg' (item 0), '1.jpg' (item 1), ")
    assert text.endswith("'9.jpg' (item 9) and 41 more: 0 x 9 pixels are over the limit of 5e+06.")


def test_images_of_one_name_are_told_apart_by_their_numbers():
    failures = [(i, PHOTO / 255, "float64 pixels hold NaN") for i in (2, 5, 9)]
    text = "Cannot decode array (12, 16, 3) float64 (items 2, 5, 9): float64 pixels hold NaN."
    assert listing(failures) == text


def test_ten_causes_are_listed_and_the_rest_counted():
    lines = listing([(i, "a.jpg", f"damaged ({chr(97 + i)})") for i in range(12)]).splitlines()
    assert lines[9:] == ["Cannot decode 'a.jpg' (item 9): damaged (j).", "... and 2 more causes."]
