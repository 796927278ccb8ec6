"""Encoded images of a batch in, for each a record or a heat map, or the reason why there is none, out."""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlsplit

from PIL import Image

from hybrid.bundle.extras import CONFORMITY, MEAN, MEMORY
from hybrid.bundle.loading import Bundle
from hybrid.bundle.portable import featurizers
from hybrid.explain.explanation import explain, is_traceable
from hybrid.images.pixels import ImageError
from hybrid.spelling import spelt
from hybrid.tasks.predict import predict

Work = Callable[[Sequence[bytes]], list[dict | ImageError]]
# An image and the number of the class to explain, or None for the predicted one, in; a JPEG file out.
Explain = Callable[[Sequence[tuple[bytes, int | None]]], list[bytes | ImageError]]
HEAT_SIDE, HEAT_QUALITY = 448, 85


def worker(bundle: Bundle, sets: float, neighbours: int) -> Work:
    """Return what a bundle can say of images; from now on it keeps nothing of them in any store."""
    fitted, templates = featurizers(bundle.model)
    for one in (*fitted, *templates):
        one.set_params(store=None, verbose=0, on_error="raise")
    options = {
        "sets": sets if coverage(bundle, sets) else None,
        "neighbours": min(neighbours, len(bundle.extras[MEMORY]["features"]))
        if MEMORY in bundle.extras
        else 0,
    }

    def work(images: Sequence[bytes]) -> list[dict | ImageError]:
        try:
            records = predict(bundle, images, **options)
        except ImageError as exc:
            if not exc.failures:
                raise
            return [ImageError(reason) for _, _, reason in exc.failures]
        return [ImageError(one["error"]) if "error" in one else shown(one) for one in records]

    return work


def explainer(bundle: Bundle) -> Explain | None:
    """Return what draws a bundle's heat maps, or None where one would take more than a pass of the network."""
    if not bundle.manifest["classes"] or not is_traceable(bundle.model, blank()):
        return None

    def draw(content: bytes, number: int | None) -> bytes | ImageError:
        label = None if number is None else bundle.model.classes_[number]
        try:
            found = explain(bundle.model, content, label, bundle.extras.get(MEAN))
        except ImageError as exc:
            if not exc.failures:
                raise
            return ImageError(exc.failures[0][2])
        file = io.BytesIO()
        found.draw(HEAT_SIDE).save(file, "JPEG", quality=HEAT_QUALITY)
        return file.getvalue()

    return lambda pairs: [draw(*pair) for pair in pairs]


def blank() -> bytes:
    """Return an image with nothing on it, to try things with."""
    file = io.BytesIO()
    Image.new("RGB", (64, 64)).save(file, "PNG")
    return file.getvalue()


def coverage(bundle: Bundle, sets: float) -> float | None:
    """Return how often the sets hold the right class, for a bundle that can give some."""
    return sets if CONFORMITY in bundle.extras and hasattr(bundle.model, "predict_proba") else None


def shown(record: dict) -> dict:
    """Return a record as JSON can hold it, that tells nothing of this machine's folders."""
    for one in record.get("neighbours", ()):
        one["image"] = basename(one["image"])
    return sendable(record)


def sendable(value: Any) -> Any:
    """Return plain values with text for keys, and nothing that is no Unicode.

    Examples
    --------
    >>> sendable({3: ["a", 1.5]})
    {'3': ['a', 1.5]}
    """
    if isinstance(value, dict):
        return {spelt(str(key)): sendable(one) for key, one in value.items()}
    if isinstance(value, list):
        return [sendable(one) for one in value]
    return spelt(value) if isinstance(value, str) else value


def basename(name: str) -> str:
    """Return the last part of a path of any system, or of a URL.

    Examples
    --------
    >>> basename("/home/me/ants/7.jpg"), basename("C:\\\\ants\\\\7.jpg"), basename("https://a.org/b/7.jpg?key=1")
    ('7.jpg', '7.jpg', '7.jpg')
    """
    path = urlsplit(name).path if "://" in name else name
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1]
