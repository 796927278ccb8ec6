"""A network inside a bundle, such as model.hybrid/network-0, in; its record out.

Its fingerprint is the digest of the converted network itself, not of the weights that the bundle says it was
made from: what it computes can never pass for theirs.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path

from hybrid.archive.files import refusal
from hybrid.archive.manifest import MANIFEST, read_manifest
from hybrid.sources.record import Backbone, Stage, WeightsFile

FAMILY = "bundle"
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")
LARGEST = 4096
MOST_LAYERS = 1000


def is_inside(name) -> bool:
    """Say whether a path leads into a bundle."""
    path = Path(name)
    return bool(re.fullmatch("network-[0-9]+", path.name)) and not path.exists()


def read(name) -> Backbone:
    """Return the record of a network inside a bundle."""
    path = Path(name).expanduser().absolute()
    bundle = path.parent
    manifest = bundle / MANIFEST if bundle.is_dir() else bundle
    version = (manifest.stat().st_mtime_ns, manifest.stat().st_size) if manifest.exists() else None
    return _read(path, version)


@lru_cache(maxsize=64)
def _read(path, version):
    _, manifest = read_manifest(path.parent)
    entry = manifest["networks"].get(path.name)
    try:
        return record(path, entry, fingerprint(manifest, path.name))
    except (KeyError, TypeError, ValueError) as exc:
        raise refusal(path.parent, f"{path.name} is described by {entry!r:.200}", "what save writes") from exc


def describe(network, layers, widths) -> dict:
    """Return what the manifest says of a converted network, so that `record` can be made of it."""
    source = network.backbone
    own = {stage.name: stage.layer for stage in (*source.stages, *([source.last] if source.last else []))}
    return {
        "name": source.name,
        "weights": network.fingerprint,
        "licence": source.licence,
        "size": list(network.size),
        "margin": source.margin,
        "interpolation": source.interpolation,
        "layers": [[name, own.get(name, name), width] for name, width in zip(layers, widths, strict=True)],
    }


def record(path, entry, digest) -> Backbone:
    """Check what a manifest says of a network, and make a record of it."""
    stages = [Stage(str(name), str(layer), int(width)) for name, layer, width in entry["layers"]]
    height, width = entry["size"]
    margin, interpolation = float(entry["margin"]), entry["interpolation"]
    if not all(type(n) is int and 0 < n <= LARGEST for n in (height, width)) or not 1 <= margin < 2:
        raise ValueError("size or margin")
    if interpolation not in INTERPOLATIONS or not 0 < len(stages) <= MOST_LAYERS:
        raise ValueError("interpolation or layers")
    named = {stage.name: stage for stage in stages}
    return Backbone(
        name=str(entry["name"]),
        family=FAMILY,
        size=(height, width),
        stages=tuple(stage for stage in stages if stage.name not in ("last", "predictions")),
        last=named.get("last"),
        classes=named["predictions"].width if "predictions" in named else 0,
        licence=str(entry["licence"]),
        margin=margin,
        interpolation=interpolation,
        min_size=1,
        fixed_size=True,
        weights=WeightsFile(f"{path.name}.bin", hash=digest),
        path=path,
    )


def fingerprint(manifest, name) -> str:
    """Digest all that a network inside a bundle is; what it says it was made from is no part of it."""
    files = [manifest["parts"][f"{name}.{kind}"]["sha256"] for kind in ("xml", "bin")]
    told = json.dumps([manifest["networks"][name] | {"weights": None}, files], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=20).hexdigest()


def layers(record) -> tuple[str, ...]:
    """Return the layers that a network inside a bundle gives, in the order of its outputs."""
    ends = ["last"] * bool(record.last) + ["predictions"] * bool(record.classes)
    return *(stage.name for stage in record.stages), *ends
