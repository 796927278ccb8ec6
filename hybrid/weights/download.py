"""A published file of weights in, its path in Keras's own folder out, downloaded first if need be.

Nothing here imports TensorFlow: downloading is done as Keras does it, into Keras's own folder, without Keras.
"""

from __future__ import annotations

import http.client
import os
import shutil
import sys
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from hybrid.weights.files import Weights, WeightsFile, content_digest, file_digest, kind_of

TIMEOUT_SECONDS = 15


def published(name: str, file: WeightsFile) -> Weights:
    """Return the ImageNet weights of a network of Keras's."""
    path = next((path for path in places(file) if file.is_whole(path)), None) or _fetch(name, file)
    return Weights(path, file.hash or file_digest(path), published=True)


def places(file: WeightsFile) -> list[Path]:
    """Return the paths that Keras would look for a file at."""
    return [folder / file.name for folder in keras_folders()]


def keras_folders() -> list[Path]:
    """Return the folders Keras keeps its downloads in: the second where the first cannot be written to."""
    home, temporary = Path("~").expanduser(), Path(tempfile.gettempdir())
    base = os.environ.get("KERAS_HOME") or (home if os.access(home, os.W_OK) else temporary) / ".keras"
    base, fallback = Path(base).expanduser(), temporary / ".keras"
    writable = not base.exists() or os.access(base, os.W_OK)
    return [folder / "models" for folder in ((base,) if writable else (fallback, base))]


def download(url: str, path: Path, expected: str = "") -> Path:
    """Fetch a file; it appears under its name only when it is whole and its hash is right."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with urllib.request.urlopen(url, timeout=TIMEOUT_SECONDS) as response:
        length = int(response.headers.get("Content-Length") or 0)
        print(f"Downloading {url} ({length / 1e6:.0f} MB) to {path.parent}", file=sys.stderr)
        descriptor, part = tempfile.mkstemp(prefix=path.name, suffix=".part", dir=path.parent)
        try:
            with open(descriptor, "wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
            got = os.path.getsize(part)
            if length and got != length:
                raise ValueError(f"the connection broke off after {got} of {length} bytes")
            if expected and content_digest(part, kind_of(expected)) != expected:
                raise ValueError(f"what came does not have the hash {expected}")
            os.chmod(part, 0o644)
            os.replace(part, path)
        finally:
            if os.path.exists(part):
                os.unlink(part)
    return path


def _fetch(name, file):
    path = places(file)[0]
    mirror = os.environ.get("HYBRID_WEIGHTS_URL")
    url = f"{mirror.rstrip('/')}/{file.name}" if mirror else file.url
    try:
        return download(url, path, file.hash)
    except (OSError, ValueError, http.client.HTTPException) as exc:
        raise ValueError(
            f"Cannot get the ImageNet weights of {name!r} from {url}: {_reason(exc)}. "
            f"Put {file.name} into {path.parent}, pass weights=PATH with a weights file of this network, "
            "or use backbone='efficientnet_lite0', which ships with the package."
        ) from exc


def _reason(exc):
    if isinstance(exc, urllib.error.HTTPError):
        return f"HTTP {exc.code} {exc.reason}"
    return str(getattr(exc, "reason", None) or exc).rstrip(".")
