"""Awkward files: each gives the right pixels or one error that names it and says why."""

import warnings

import numpy as np
import pytest
from corpus import SCENE, animated, files, make_corpus, saved

from hybrid.images.decoding import decode, digest
from hybrid.images.frame import Frame
from hybrid.images.items import raise_for
from hybrid.images.pixels import ImageError
from hybrid.images.source import read

SPECIAL = [
    "folder.jpg",
    "missing.jpg",
    "pipe.jpg",
    "device.jpg",
    "link.jpg",
    "dangling.jpg",
    "loop.jpg",
    "secret.png",
]
FORMATS = {
    "JPEG": saved(SCENE, "JPEG"),
    "progressive JPEG": saved(SCENE, "JPEG", progressive=True),
    "MPO": animated("MPO"),
    "PNG": saved(SCENE, "PNG"),
    "APNG": animated("PNG"),
    "WEBP": saved(SCENE, "WEBP"),
    "AVIF": saved(SCENE, "AVIF", speed=10),
    "BMP": saved(SCENE, "BMP"),
    "GIF": saved(SCENE, "GIF"),
    "TIFF": saved(SCENE, "TIFF"),
    "packed TIFF": saved(SCENE, "TIFF", compression="tiff_adobe_deflate"),
    "PPM": saved(SCENE, "PPM"),
}
FRAME = Frame(size=SCENE.shape[:2], resize="squash")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    return folder, make_corpus(folder)


def outcome(item, frame=FRAME):
    try:
        raw = read(item)
        assert len(digest(raw)) == 16
        return decode(raw, frame)[0]
    except ImageError as exc:
        return str(exc)


@pytest.mark.parametrize("name", [*files(), *SPECIAL])
def test_every_awkward_file_gives_the_right_pixels_or_a_plain_reason(corpus, name):
    folder, expectations = corpus
    if name not in expectations:
        pytest.skip("this user or platform cannot have such a file")
    expected = expectations[name]
    if expected.pixels is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = outcome(folder / name)
        assert isinstance(got, str), "decoded silently"
        with pytest.raises(ImageError, match=expected.reason) as caught:
            raise_for([(3, folder / name, got)])
        assert f"{str(folder / name)!r} (item 3)" in str(caught.value)
    else:
        got = outcome(folder / name, Frame(size=expected.pixels.shape[:2], resize="squash"))
        assert not isinstance(got, str), got
        worst = np.abs(got.astype(int) - expected.pixels).max()
        assert worst <= expected.tolerance


def test_the_corpus_holds_at_least_forty_files(corpus):
    assert len(corpus[1]) >= 40


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", FORMATS)
def test_a_file_cut_anywhere_is_an_error_or_complete(format):
    content = FORMATS[format]
    whole = decode(content, FRAME)
    for end in np.linspace(0, len(content) - 1, 40).astype(int):
        got = outcome(content[:end])
        assert isinstance(got, str) or (got == whole).all(), f"cut at {end} of {len(content)}"


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("format", FORMATS)
def test_a_damaged_file_never_raises_anything_else(format):
    rng = np.random.default_rng(0)
    for _ in range(60):
        content = np.frombuffer(FORMATS[format], np.uint8).copy()
        at = rng.integers(len(content), size=3)
        content[at] = rng.integers(256, size=3)
        outcome(content.tobytes())
