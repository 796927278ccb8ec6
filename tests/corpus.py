"""A folder in; it is filled with awkward files, and what to expect of each comes out."""

from __future__ import annotations

import io
import os
import struct
import zlib
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image

HEIGHT, WIDTH = 24, 40
LOSSY = 6


@dataclass(frozen=True)
class Expectation:
    """The right pixels, or a pattern that the reason matches."""

    pixels: np.ndarray | None = None
    tolerance: int = 0
    reason: str | None = None


def scene() -> np.ndarray:
    """Draw a smooth picture without any symmetry."""
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([20 + 5 * x, 250 - 9 * y, 10 + 2 * x + 4 * y], axis=-1).astype(np.uint8)


SCENE = scene()
GREY = SCENE[..., 0]
ALPHA = SCENE[..., 2]
RGBA = np.dstack([SCENE, ALPHA])
OVER_WHITE = np.rint((SCENE * (ALPHA / 255)[..., None]) + (255 - ALPHA[..., None])).astype(np.uint8)
LEFT = np.arange(WIDTH) < WIDTH // 2
# What a camera that was turned so would have stored.
STORED = {
    1: SCENE,
    2: SCENE[:, ::-1],
    3: SCENE[::-1, ::-1],
    4: SCENE[::-1],
    5: SCENE.swapaxes(0, 1),
    6: np.rot90(SCENE, 1),
    7: SCENE[::-1, ::-1].swapaxes(0, 1),
    8: np.rot90(SCENE, -1),
}


def make_corpus(folder: Path) -> dict[str, Expectation]:
    """Fill a folder; return what to expect of each file in it, by name."""
    corpus = {}
    for name, (content, expectation) in files().items():
        (folder / name).write_bytes(content)
        corpus[name] = expectation
    (folder / "folder.jpg").mkdir()
    corpus["folder.jpg"] = Expectation(reason="is a directory")
    corpus["missing.jpg"] = Expectation(reason="no such file")
    if os.name == "posix":
        os.mkfifo(folder / "pipe.jpg")
        corpus["pipe.jpg"] = corpus["device.jpg"] = Expectation(reason="not a regular file")
        corpus["link.jpg"] = Expectation(SCENE)
        corpus["dangling.jpg"] = Expectation(reason="no such file")
        corpus["loop.jpg"] = Expectation(reason="too many levels of symbolic links")
        targets = {"device": "/dev/null", "link": "rgb.png", "dangling": "gone.jpg", "loop": "loop.jpg"}
        for name, target in targets.items():
            (folder / f"{name}.jpg").symlink_to(target)
        if os.geteuid() != 0:
            (folder / "secret.png").write_bytes(saved(SCENE, "PNG"))
            (folder / "secret.png").chmod(0)
            corpus["secret.png"] = Expectation(reason="permission denied")
    return corpus


@cache
def files() -> dict[str, tuple[bytes, Expectation]]:
    """Return the content of every regular file, and what to expect of it."""
    good = {**jpegs(), **pngs(), **tiffs(), **others()}
    entries = {}
    for name, (content, pixels, tolerance) in good.items():
        rgb = pixels if pixels.ndim == 3 else np.dstack([pixels] * 3)
        entries[name] = content, Expectation(rgb, tolerance)
    for name, (content, reason) in bad().items():
        entries[name] = content, Expectation(reason=reason)
    return entries


def saved(pixels, format: str, mode: str | None = None, **options) -> bytes:
    image = Image.fromarray(np.ascontiguousarray(pixels)) if isinstance(pixels, np.ndarray) else pixels
    if mode is not None and mode != image.mode:
        image = image.convert(mode)
    file = io.BytesIO()
    image.save(file, format, **options)
    return file.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[274] = orientation
    return exif.tobytes()


def jpegs() -> dict:
    fine = {"quality": 97, "subsampling": 0}
    entries = {
        "baseline.jpg": (saved(SCENE, "JPEG", **fine), SCENE, LOSSY),
        "progressive.jpg": (saved(SCENE, "JPEG", progressive=True, **fine), SCENE, LOSSY),
        "grey.jpg": (saved(GREY, "JPEG", **fine), GREY, LOSSY),
        "cmyk.jpg": (saved(inks(), "JPEG", **fine), SCENE, LOSSY),
        "trailing.jpg": (saved(SCENE, "JPEG", **fine) + b"\0garbage" * 99, SCENE, LOSSY),
        "broken-exif.jpg": (saved(SCENE, "JPEG", exif=b"Exif\0\0broken", **fine), SCENE, LOSSY),
        "two-pictures.mpo": (animated("MPO", **fine), SCENE, LOSSY),
        "really-a-png.jpg": (saved(SCENE, "PNG"), SCENE, 0),
        "new\nline.jpg": (saved(SCENE, "JPEG", **fine), SCENE, LOSSY),
        "\N{CAT FACE} \N{LATIN SMALL LETTER E WITH ACUTE}.jpg": (saved(SCENE, "JPEG", **fine), SCENE, LOSSY),
    }
    for orientation, pixels in STORED.items():
        content = saved(pixels, "JPEG", exif=turned(orientation), **fine)
        entries[f"orientation-{orientation}.jpg"] = (content, SCENE, LOSSY)
    return entries


def inks() -> Image.Image:
    """Return the scene in cyan, magenta and yellow, without black."""
    bands = [Image.fromarray(255 - SCENE[..., i]) for i in range(3)]
    return Image.merge("CMYK", [*bands, Image.new("L", (WIDTH, HEIGHT))])


def animated(format: str, **options) -> bytes:
    second = Image.fromarray(np.ascontiguousarray(255 - SCENE))
    return saved(SCENE, format, save_all=True, append_images=[second], **options)


def png(rows: list[bytes], width: int, depth: int, kind: int, **chunks: bytes) -> bytes:
    """Encode rows of packed samples as they are."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    header = struct.pack(">IIBBBBB", width, len(rows), depth, kind, 0, 0, 0)
    extra = b"".join(chunk(name.encode(), data) for name, data in chunks.items())
    data = zlib.compress(b"".join(b"\0" + row for row in rows))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + extra + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def samples(pixels: np.ndarray) -> list[bytes]:
    """Rows of 16-bit samples, as a PNG has them."""
    return [row.astype(">u2").tobytes() for row in pixels.astype(np.uint16) * 257]


def pngs() -> dict:
    palette = Image.new("P", (WIDTH, HEIGHT))
    palette.putpalette([10, 200, 30, 255, 0, 0])
    palette.paste(1, (WIDTH // 2, 0, WIDTH, HEIGHT))
    left, right = (10, 200, 30), (255, 0, 0)
    halves = np.where(LEFT[:, None], np.uint8(left), np.uint8(right))[None].repeat(HEIGHT, axis=0)
    half_clear = halves.copy()
    half_clear[:, LEFT] = 255
    faint = np.where(LEFT[:, None], np.uint8([157, 233, 165]), np.uint8(right))[None].repeat(HEIGHT, axis=0)
    key_rgb = SCENE.copy()
    key_rgb[3, 5] = 255
    key_grey = np.where(GREY == 70, 255, GREY).astype(np.uint8)
    la = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(ALPHA)])
    la_16 = samples(np.stack([GREY, ALPHA], axis=-1).reshape(HEIGHT, -1))
    rgb_16 = samples(SCENE.reshape(HEIGHT, -1))
    bits = np.asarray(Image.fromarray(GREY).convert("1")) * np.uint8(255)
    over_grey = np.rint(GREY * (ALPHA / 255) + (255 - ALPHA)).astype(np.uint8)
    deep_key = struct.pack(">3H", *(int(v) * 257 for v in SCENE[3, 5]))
    return {
        "rgb.png": (saved(SCENE, "PNG"), SCENE, 0),
        "rgba.png": (saved(RGBA, "PNG"), OVER_WHITE, 1),
        "grey.png": (saved(GREY, "PNG"), GREY, 0),
        "grey-alpha.png": (saved(la, "PNG"), over_grey, 1),
        "palette.png": (saved(palette, "PNG"), halves, 0),
        "palette-one-clear.png": (saved(palette, "PNG", transparency=0), half_clear, 0),
        "palette-faint.png": (saved(palette, "PNG", transparency=bytes([102, 255])), faint, 1),
        "one-bit.png": (saved(bits, "PNG", mode="1"), bits, 0),
        "one-bit-key.png": (png([b"\x0f"] * 2, 8, 1, 0, tRNS=b"\0\0"), np.full((2, 8), 255, np.uint8), 0),
        "two-bit-key.png": (png([b"\x1b"], 4, 2, 0, tRNS=b"\0\1"), np.uint8([[0, 255, 170, 255]]), 0),
        "four-bit.png": (png([b"\x0f\x37"], 4, 4, 0), np.uint8([[0, 255, 51, 119]]), 0),
        "four-bit-key.png": (png([b"\x0f\x37"], 4, 4, 0, tRNS=b"\0\3"), np.uint8([[0, 255, 255, 119]]), 0),
        "grey-key.png": (saved(GREY, "PNG", transparency=70), key_grey, 0),
        "rgb-key.png": (saved(SCENE, "PNG", transparency=tuple(map(int, SCENE[3, 5]))), key_rgb, 0),
        "grey-16.png": (png(samples(GREY), WIDTH, 16, 0), GREY, 0),
        "grey-16-key.png": (png(samples(GREY), WIDTH, 16, 0, tRNS=struct.pack(">H", 70 * 257)), key_grey, 0),
        "rgb-16.png": (png(rgb_16, WIDTH, 16, 2), SCENE, 0),
        "rgb-16-key.png": (png(rgb_16, WIDTH, 16, 2, tRNS=deep_key), key_rgb, 0),
        "grey-alpha-16.png": (png(la_16, WIDTH, 16, 4), over_grey, 1),
        "broken-exif.png": (
            png([b"\7"], 1, 8, 0, tEXt=b"Raw profile type exif\0\nexif\n4\nxyz"),
            np.uint8([[7]]),
            0,
        ),
        "orientation.png": (saved(STORED[6], "PNG", exif=turned(6)), SCENE, 0),
        "animated.png": (animated("PNG"), SCENE, 0),
        "one-pixel.png": (saved(SCENE[:1, :1], "PNG"), SCENE[:1, :1], 0),
        "one-column.png": (saved(np.resize(GREY, (5000, 1)), "PNG"), np.resize(GREY, (5000, 1)), 0),
    }


def tiff(pixels: bytes, width: int, height: int, bits: int, photometric: int, order="<") -> bytes:
    """Encode one channel as it is."""
    layout = {259: 1, 273: 8, 277: 1, 278: height, 279: len(pixels)}
    tags = sorted(({256: width, 257: height, 258: bits, 262: photometric} | layout).items())
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack(f"{order}H", len(tags)) + entries + bytes(4)
    magic = b"II*\0" if order == "<" else b"MM\0*"
    return magic + struct.pack(f"{order}I", 8 + len(pixels)) + pixels + directory


def tiffs() -> dict:
    deep = GREY.astype(np.uint16) * 257
    fax = np.where(LEFT, 255, 0).astype(np.uint8)[None].repeat(9, axis=0)
    entries = {
        "grey-16.tif": (saved(deep, "TIFF"), GREY, 0),
        "grey-16-packed.tif": (saved(deep, "TIFF", compression="tiff_lzw"), GREY, 0),
        "grey-16-big-endian.tif": (tiff(deep.astype(">u2").tobytes(), WIDTH, HEIGHT, 16, 1, ">"), GREY, 0),
        "white-is-zero-16.tif": (tiff((65535 - deep).tobytes(), WIDTH, HEIGHT, 16, 0), GREY, 0),
        "white-is-zero.tif": (tiff((255 - GREY).tobytes(), WIDTH, HEIGHT, 8, 0), GREY, 0),
        "grey-12.tif": (
            tiff(b"\xff\xf0\x00" + b"\x80\x08\x00", 2, 2, 12, 1),
            np.uint8([[255, 0], [128, 128]]),
            0,
        ),
        "cmyk.tif": (saved(inks(), "TIFF"), SCENE, 0),
        "rgba.tif": (saved(RGBA, "TIFF"), OVER_WHITE, 1),
        "fax.tif": (saved(fax, "TIFF", mode="1", compression="group4"), fax, 0),
        "pages.tif": (animated("TIFF"), SCENE, 0),
    }
    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits"):
        entries[f"{compression}.tif"] = (saved(SCENE, "TIFF", compression=compression), SCENE, 0)
    for orientation in (3, 5, 6):
        content = saved(STORED[orientation], "TIFF", tiffinfo={274: orientation})
        entries[f"orientation-{orientation}.tif"] = (content, SCENE, 0)
    return entries


def others() -> dict:
    few = Image.fromarray(SCENE).quantize(16)
    colours, clear = np.asarray(few.convert("RGB")), few.getpixel((0, 0))
    without = np.where(np.asarray(few)[..., None] == clear, np.uint8(255), colours)
    bits = np.asarray(Image.fromarray(GREY).convert("1")) * np.uint8(255)
    fine = {"quality": 98, "subsampling": "4:4:4", "speed": 10}
    deep = (GREY.astype(np.uint16) * 257).astype(">u2").tobytes()
    numbers = b" ".join(b"%d" % value for value in SCENE.ravel())
    size = b"%d %d" % (WIDTH, HEIGHT)
    return {
        "lossy.webp": (saved(SCENE, "WEBP", quality=98), SCENE, 12),
        "lossless.webp": (saved(SCENE, "WEBP", lossless=True), SCENE, 0),
        "alpha.webp": (saved(RGBA, "WEBP", lossless=True, exact=True), OVER_WHITE, 1),
        "animated.webp": (animated("WEBP", lossless=True), SCENE, 0),
        "orientation.webp": (saved(STORED[8], "WEBP", lossless=True, exif=turned(8)), SCENE, 0),
        "picture.avif": (saved(SCENE, "AVIF", **fine), SCENE, LOSSY),
        "alpha.avif": (saved(RGBA, "AVIF", **fine), OVER_WHITE, LOSSY),
        "orientation.avif": (saved(STORED[6], "AVIF", exif=turned(6), **fine), SCENE, LOSSY),
        "rgb.bmp": (saved(SCENE, "BMP"), SCENE, 0),
        "palette.bmp": (saved(few, "BMP"), colours, 0),
        "one-bit.bmp": (saved(bits, "BMP", mode="1"), bits, 0),
        "palette.gif": (saved(few, "GIF"), colours, 0),
        "clear.gif": (saved(few, "GIF", transparency=clear), without, 0),
        "animated.gif": (saved(few, "GIF", save_all=True, append_images=[few.rotate(180)]), colours, 0),
        "rgb.ppm": (saved(SCENE, "PPM"), SCENE, 0),
        "plain.ppm": (b"P3 # numbers\n" + size + b" 255\n" + numbers, SCENE, 0),
        "grey-16.pgm": (b"P5 " + size + b" 65535\n" + deep, GREY, 0),
        "one-bit.pbm": (b"P4 8 1\n\x0f", np.uint8([[255] * 4 + [0] * 4]), 0),
    }


def bad() -> dict:
    jpeg, plain = saved(SCENE, "JPEG", quality=97), saved(SCENE, "PNG")
    flipped = bytearray(plain)
    flipped[len(plain) // 2] ^= 0x55
    bomb = png([b"\0"], 60000, 8, 0).replace(struct.pack(">II", 60000, 1), struct.pack(">II", 60000, 60000))
    bomb = bomb.replace(bomb[29:33], struct.pack(">I", zlib.crc32(bomb[12:29])))
    empty = png([], 5, 8, 0)
    unknown, broken = "not an image in a known format", "truncated|damaged|unsupported"
    entries = {
        "empty.jpg": (b"", "empty file"),
        "text.jpg": (b"This is no picture.\n", unknown),
        "page.jpg": (b"<!doctype html><title>404</title>", unknown),
        "drawing.svg": (b'<svg xmlns="http://www.w3.org/2000/svg"/>', unknown),
        "paper.pdf": (saved(SCENE, "PDF"), unknown),
        "paper.eps": (saved(SCENE, "EPS"), unknown),
        "icon.ico": (saved(SCENE, "ICO"), unknown),
        "picture.jp2": (saved(SCENE, "JPEG2000"), unknown),
        "picture.tga": (saved(SCENE, "TGA"), unknown),
        "phone.heic": (b"\0\0\0\x18ftypheic" + bytes(64), unknown),
        "zipped.jpg": (zlib.compress(jpeg), unknown),
        "bomb.png": (bomb, "60000 x 60000 pixels are over the limit"),
        "no-pixels.png": (empty, broken),
        "flipped.png": (bytes(flipped), "damaged"),
        "header-only.jpg": (jpeg[:160], "truncated|damaged"),
        "float.tif": (saved(GREY / np.float32(255), "TIFF"), "value_range"),
        "integers-32.tif": (saved(GREY.astype(np.int32) * 70000, "TIFF"), "value_range"),
        "dark-32.tif": (saved(GREY.astype(np.int32), "TIFF"), "value_range"),
        "float.pfm": (saved(GREY / np.float32(255), "PPM"), "value_range"),
        "nothing.ppm": (b"P6 ", broken),
        "magic-only.gif": (b"GIF89a", broken),
        "magic-only.tif": (b"II*\0", broken),
        "magic-only.webp": (b"RIFF\0\0\0\0WEBPVP8 ", broken),
        "magic-only.avif": (b"\0\0\0\x1cftypavif", broken),
        "magic-only.bmp": (b"BM", broken),
    }
    for share in (10, 50, 90, 99):
        entries[f"cut-{share}.jpg"] = (jpeg[: len(jpeg) * share // 100], broken)
    for format in ("PNG", "WEBP", "AVIF", "BMP", "TIFF", "GIF", "PPM"):
        content = saved(SCENE, format)
        entries[f"cut.{format.lower()}"] = (content[: len(content) // 2], broken)
    return entries
