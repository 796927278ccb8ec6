"""A bundle's manifest.json: what the bundle is, the digest of every other file, and the signature.

The signature is HMAC-SHA256 over the bytes of the manifest, which holds the digests of all else.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Mapping
from pathlib import Path

from hybrid.archive.files import UNTRUSTED, Archive, open_archive, refusal

Key = bytes | str | os.PathLike | None
FORMAT, PACKAGE = "hybrid bundle", "hybrid-features"
# Raise it whenever a bundle would be read otherwise than it was written.
PROTOCOL = 2
MANIFEST, SIGNATURE, MODEL = "manifest.json", "signature.txt", "model.skops"
MAX_MANIFEST = 16 << 20
MIN_KEY = 16


def seal(parts: Mapping[str, bytes | Path], about: dict, key: Key = None) -> dict[str, bytes | Path]:
    """Return the files of a bundle, its manifest and its signature among them."""
    about = {"format": FORMAT, "protocol": PROTOCOL} | about
    listed = {name: describe(content) for name, content in parts.items()}
    text = json.dumps(about | {"parts": listed}, indent=1, default=plain).encode()
    if len(text) > MAX_MANIFEST:
        raise ValueError(f"Got scores and classes of {len(text)} bytes, but expected at most {MAX_MANIFEST}.")
    files = {MANIFEST: text}
    if key is not None:
        files[SIGNATURE] = sign(text, key).encode()
    return files | dict(parts)


def read_manifest(path: str | os.PathLike, key: Key = None) -> tuple[Archive, dict]:
    """Open a bundle and check its signature, its protocol and its list of files, in this order."""
    archive = open_archive(path)
    size = archive.sizes.get(MANIFEST)
    if size is None or size > MAX_MANIFEST:
        raise refusal(path, f"a {MANIFEST} of {size or 'no'} bytes", f"one of up to {MAX_MANIFEST}")
    text = archive.read(MANIFEST)
    if key is not None:
        _check_signature(archive, text, key)
    manifest = parse(path, text)
    _check_parts(archive, manifest)
    return archive, manifest


def read_part(archive: Archive, manifest: dict, name: str) -> bytes:
    """Return a file's bytes, if they are the ones that the manifest lists."""
    data = archive.read(name)
    found, expected = hashlib.sha256(data).hexdigest(), manifest["parts"][name]["sha256"]
    if found != expected:
        raise refusal(archive.path, f"{name!r} has the SHA-256 {found:.12}...", f"{expected:.12}...")
    return data


def is_bundle(path: str | os.PathLike) -> bool:
    """Say whether a bundle stands at a path, whatever its state and protocol."""
    try:
        archive = open_archive(path)
        return json.loads(archive.read(MANIFEST))["format"] == FORMAT
    except (ValueError, KeyError, TypeError, RecursionError):
        return False


def parse(path: str | os.PathLike, text: bytes) -> dict:
    """Read the JSON; refuse what is no manifest, or one of another protocol."""
    try:
        manifest = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise refusal(path, f"its manifest is no JSON ({exc})", "what save writes") from exc
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        raise refusal(path, "its manifest is of something else", f"the format {FORMAT!r}")
    protocol = manifest.get("protocol")
    if protocol != PROTOCOL:
        old = protocol in range(1, PROTOCOL)
        way_out = (
            "Train and save the model again." if old else "Update hybrid: pip install -U hybrid-features"
        )
        found = f"protocol {protocol!r:.40}, written by {writer(manifest)}"
        raise refusal(path, found, f"{PROTOCOL}", way_out)
    return manifest


def writer(manifest: dict) -> str:
    """Say which version wrote a manifest, and when, as far as it tells."""
    versions = manifest.get("versions")
    version = versions.get(PACKAGE) if isinstance(versions, dict) else None
    return f"{PACKAGE} {version or 'of an unknown version'!s:.40} at {manifest.get('created')!s:.40}"


def _check_parts(archive: Archive, manifest: dict):
    """Refuse files that are too many, too few or of another size."""
    kinds = {"networks": dict, "parts": dict, "versions": dict, "recipes": list}
    for key, kind in kinds.items():
        if not isinstance(manifest.get(key), kind):
            raise refusal(archive.path, f"its manifest has no {key!r}", "what save writes")
    parts, names = manifest["parts"], [f"network-{i}" for i in range(len(manifest["networks"]))]
    expected = {MODEL, *(f"{name}.{kind}" for name in names for kind in ("xml", "bin"))}
    for found in (archive.sizes.keys() - {MANIFEST, SIGNATURE}, set(parts)):
        if found != expected or set(names) != set(manifest["networks"]):
            raise refusal(archive.path, f"the files {sorted(found)!r:.300}", f"{sorted(expected)}")
    for name, entry in parts.items():
        size = entry.get("size") if isinstance(entry, dict) else None
        if archive.sizes[name] != size or not isinstance(entry.get("sha256"), str):
            raise refusal(archive.path, f"{name!r} has {archive.sizes[name]} bytes", f"{size!r:.40}")


def _check_signature(archive: Archive, text: bytes, key: Key):
    """Refuse a manifest that was not signed with this key."""
    if SIGNATURE not in archive.sizes:
        raise refusal(archive.path, "no signature", "one", "Save it with key=..., or load it without a key.")
    found = archive.read(SIGNATURE) if archive.sizes[SIGNATURE] == 2 * hashlib.sha256().digest_size else b""
    if not hmac.compare_digest(found, sign(text, key).encode()):
        raise refusal(archive.path, "its signature does not fit the key", "the one made with it", UNTRUSTED)


def sign(text: bytes, key: Key) -> str:
    return hmac.digest(_read_key(key), FORMAT.encode() + b"\0" + text, "sha256").hex()


def _read_key(key: Key) -> bytes:
    """Return the key's bytes, from a file where a path is given."""
    if isinstance(key, (str, os.PathLike)):
        key = Path(key).expanduser().read_bytes()
    if not isinstance(key, bytes):
        raise TypeError(f"Got a key of type {type(key).__name__}, but expected bytes or the path of a file.")
    if len(key) < MIN_KEY:
        raise ValueError(
            f"Got a key of {len(key)} bytes, but expected {MIN_KEY} or more: `openssl rand -hex 32`."
        )
    return key


def describe(content: bytes | Path) -> dict:
    if isinstance(content, bytes):
        return {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}
    with open(content, "rb") as file:
        return {"sha256": hashlib.file_digest(file, "sha256").hexdigest(), "size": content.stat().st_size}


def plain(value: object) -> object:
    """Make plain numbers and lists of NumPy's."""
    if hasattr(value, "tolist"):
        return value.tolist()
    raise TypeError(f"Got {value!r} among the scores or classes, which JSON cannot hold.")
