"""A TIFF file that Pillow opened in; the same out, read rightly or refused where Pillow would take it for another."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from PIL import Image
from PIL.ExifTags import Base as Tag

from hybrid.images.limits import check_size
from hybrid.images.pixels import ImageError

SIGNED, SEPARATE = 2, 2
# Extra samples in planes of their own: none, one without a meaning, straight alpha.
EXTRAS = ((), (0,), (2,))
# To follow the runs of more bytes than this would take longer than decoding them.
MAX_FOLLOWED = 1 << 25


def mend(image: Image.Image, raw: bytes):
    """Have libtiff read what Pillow reads wrongly by itself; refuse what neither does, and damage."""
    tags = image.tag_v2
    bits = max(tags.get(Tag.BitsPerSample, (1,)))
    check_size(tags.get(Tag.TileWidth, 1), tags.get(Tag.TileLength, 1))
    if SIGNED in tags.get(Tag.SampleFormat, ()) and bits < 32:
        raise ImageError(f"signed samples of {bits} bits could mean any brightness: save them unsigned")
    if tags.get(Tag.PlanarConfiguration) == SEPARATE:
        single = tags.get(Tag.SamplesPerPixel, 1) == 1
        known = image.mode in ("RGB", "RGBA", "CMYK") and tags.get(Tag.ExtraSamples, ()) in EXTRAS
        if not (single or known):
            raise ImageError(f"separate planes of {image.mode}, but expected RGB, RGBA or CMYK")
        if bits == 16 and not image.use_load_libtiff:
            _read_by_libtiff(image, "I;16N" if single else f"{image.mode};16N")
    elif tags.prefix == b"MM" and image.use_load_libtiff and image.mode in ("I", "F"):
        # libtiff has turned the bytes round already.
        _read_by_libtiff(image, image.mode)
    if image.info["compression"] == "packbits" and len(raw) <= MAX_FOLLOWED:
        for start, stop, size in _strips(tags):
            follow(raw[start:stop], size)


def _read_by_libtiff(image: Image.Image, rawmode: str):
    """Have a picture's samples read by libtiff, which returns them in the machine's byte order."""
    tags = image.tag_v2
    extents = 0, 0, tags[Tag.ImageWidth], tags[Tag.ImageLength]
    image.use_load_libtiff = True
    image.tile = [type(image.tile[0])("libtiff", extents, 0, (rawmode, False, tags.offset))]


def _strips(tags: Mapping) -> Iterator[tuple[int, int, int]]:
    """Yield where each strip or tile begins and ends, and to how many bytes it unpacks."""
    width, height = tags[Tag.ImageWidth], tags[Tag.ImageLength]
    tiled = Tag.TileOffsets in tags
    if tiled:
        width, rows = tags[Tag.TileWidth], tags[Tag.TileLength]
        places = zip(tags[Tag.TileOffsets], tags[Tag.TileByteCounts], strict=True)
    else:
        rows = tags.get(Tag.RowsPerStrip, height)
        places = zip(tags[Tag.StripOffsets], tags[Tag.StripByteCounts], strict=True)
    samples = 1 if tags.get(Tag.PlanarConfiguration) == SEPARATE else tags.get(Tag.SamplesPerPixel, 1)
    row = (width * samples * max(tags.get(Tag.BitsPerSample, (1,))) + 7) // 8
    top = 0
    for start, count in places:
        yield start, start + count, row * (rows if tiled else min(rows, height - top))
        # Each plane has strips of its own.
        top = top + rows if top + rows < height else 0


def follow(packed: bytes, size: int):
    """Follow the runs of PackBits: libtiff cuts short without a word what unpacks to too much."""
    at = unpacked = 0
    while unpacked < size and at < len(packed):
        head = packed[at]
        if head < 128:
            at += head + 2
            unpacked += head + 1
        elif head > 128:
            at += 2
            unpacked += 257 - head
        else:
            at += 1
    if unpacked != size or at > len(packed):
        raise ImageError(f"damaged (a strip of {size} bytes unpacks to {unpacked})")
