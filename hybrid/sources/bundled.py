"""A network inside a bundle, such as model.hybrid/network-0, in; its record, or its OpenVINO model, out.

Its fingerprint is the digest of the converted network itself, not of the weights that the bundle says it was
made from: what it computes can never pass for theirs.
"""

from __future__ import annotations

import hashlib
import json
import re
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from hybrid.archive.files import refusal
from hybrid.archive.manifest import MANIFEST, read_manifest, read_part
from hybrid.sources.description import INTERPOLATIONS
from hybrid.sources.operations import check_model, check_network
from hybrid.sources.record import Backbone, Stage
from hybrid.sources.source import Network
from hybrid.weights.files import Weights, WeightsFile

if TYPE_CHECKING:
    from openvino import Core

KIND = "a network inside a bundle"
LARGEST = 4096
MOST_LAYERS = 1000


def reads(path: Path) -> bool:
    return bool(re.fullmatch("network-[0-9]+", path.name)) and not path.exists()


def read(path: Path) -> Backbone:
    path = path.absolute()
    bundle = path.parent
    manifest = bundle / MANIFEST if bundle.is_dir() else bundle
    version = (manifest.stat().st_mtime_ns, manifest.stat().st_size) if manifest.exists() else None
    return _read(path, version)


@lru_cache(maxsize=64)
def _read(path, version):
    _, manifest = read_manifest(path.parent)
    entry = manifest["networks"].get(path.name)
    try:
        return _record(path, entry, _fingerprint(manifest, path.name))
    except (KeyError, TypeError, ValueError) as exc:
        raise refusal(path.parent, f"{path.name} is described by {entry!r:.200}", "what save writes") from exc


def own_weights(record: Backbone, top: bool) -> Weights:
    """Return those inside; the converted network is known by their fingerprint."""
    return Weights(record.path, record.weights.hash, published=True)


def read_model(core: Core, network: Network, layers: tuple[str, ...]):
    """Return the converted network, if it is still the one that was looked up, with these layers' maps."""
    import openvino

    path, size = network.backbone.path, network.backbone.size
    archive, manifest = read_manifest(path.parent)
    found = _fingerprint(manifest, path.name)
    if found != network.fingerprint:
        way_out = "It was replaced after it was loaded: load it again."
        raise refusal(path.parent, f"{path.name} is {found:.12}...", f"{network.fingerprint:.12}...", way_out)
    xml, weights = (read_part(archive, manifest, f"{path.name}.{kind}") for kind in ("xml", "bin"))
    try:
        check_network(xml, len(weights))
        model = core.read_model(xml, weights)
        check_model(model, len(weights))
    except (AttributeError, KeyError, RuntimeError, TypeError, ValueError, ElementTree.ParseError) as exc:
        found = f"{path.name} is no OpenVINO model that may run here ({exc!s:.300})"
        raise refusal(path.parent, found, "what save writes") from exc
    if [list(one.shape) for one in model.inputs] != [[1, *size, 3]]:
        raise refusal(path.parent, f"{path.name} takes other images", f"one input of size {size}")
    found = [output.partial_shape[-1].get_length() for output in model.outputs]
    if found != _widths(network.backbone):
        raise refusal(
            path.parent, f"{path.name} gives {found}", f"{_widths(network.backbone)!r:.200} numbers"
        )
    maps = dict(zip(network.backbone.layers(), model.outputs, strict=True))
    for layer in set(layers) - set(maps):
        raise network.backbone.unknown_layer(layer)
    outputs = [maps[layer].get_node().input_value(0) for layer in layers]
    return openvino.Model(outputs, model.get_parameters())


def _widths(record: Backbone) -> list[int]:
    """Return how many numbers a record says that each layer gives."""
    ends = [record.last.width] * bool(record.last) + [record.classes] * bool(record.classes)
    return [*(stage.width for stage in record.stages), *ends]


def describe(network: Network, layers: list[str], widths: list[int]) -> dict:
    """Return what the manifest says of a converted network, so that its record can be made of it."""
    source = network.backbone
    return {
        "name": source.name,
        "weights": network.fingerprint,
        "licence": source.licence,
        "size": list(network.size),
        "margin": source.margin,
        "interpolation": source.interpolation,
        "layers": [[name, source.own_name(name), width] for name, width in zip(layers, widths, strict=True)],
    }


def _record(path, entry, digest):
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
        family="bundle",
        source=__name__,
        size=(height, width),
        stages=tuple(stage for stage in stages if stage.name not in ("last", "predictions")),
        last=named.get("last"),
        classes=named["predictions"].width if "predictions" in named else 0,
        licence=str(entry["licence"]),
        margin=margin,
        interpolation=interpolation,
        min_size=1,
        engines=("openvino",),
        frozen="the converted network of a bundle",
        closed=True,
        fixed_size=True,
        weights=WeightsFile(f"{path.name}.bin", hash=digest),
        path=path,
    )


def _fingerprint(manifest, name):
    """Digest all that a network inside a bundle is; what it says it was made from is no part of it."""
    files = [manifest["parts"][f"{name}.{kind}"]["sha256"] for kind in ("xml", "bin")]
    told = json.dumps([manifest["networks"][name] | {"weights": None}, files], sort_keys=True)
    return hashlib.blake2b(told.encode(), digest_size=20).hexdigest()
