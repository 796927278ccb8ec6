"""A .keras file in; its record, or its Keras model, out."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

from hybrid.sources import description
from hybrid.sources.record import Backbone
from hybrid.sources.signature import Signature
from hybrid.sources.source import Network
from hybrid.weights.files import Weights, brought

KIND = "a .keras file"
# How large a configuration may be, and how many times its file's size what is unpacked.
MOST_CONFIG, GROWTH = 32 << 20, 4
# The keys of its TOML that would say nothing.
WITHOUT = ("signature", "output")
UNSAFE = ("Lambda", "TFSMLayer", "TorchModuleWrapper")


def reads(path: Path) -> bool:
    return path.suffix == ".keras" and path.is_file()


def read(path: Path) -> Backbone:
    return description.read(
        path, lambda asked: Signature(size=_static_size(path)), WITHOUT, family="keras", source=__name__
    )


def own_weights(record: Backbone, top: bool) -> Weights:
    """Return those inside; what the network expects is part of their fingerprint."""
    return brought(record.path, [record.path, record.description])


def build(network: Network):
    """Load the model; refuse one that runs code of its own."""
    import keras

    path = network.backbone.path
    for part in _dicts(_config(path)):
        name, module = part.get("class_name"), part.get("module")
        if name in UNSAFE or (name and module and module.split(".")[0] not in ("keras", "builtins")):
            raise ValueError(
                f"Cannot load {str(path)!r} safely: it holds {module}.{name}, which runs own code. "
                "Rebuild the network from Keras's own layers."
            )
    _check_weights(path)
    try:
        model = keras.saving.load_model(path, compile=False, safe_mode=True)
    except (OSError, TypeError, ValueError, KeyError) as exc:
        raise ValueError(f"Cannot load {str(path)!r}: {exc}") from exc
    shapes = [tuple(tensor.shape) for tensor in getattr(model, "inputs", None) or []]
    if len(shapes) != 1 or len(shapes[0]) != 4 or shapes[0][-1] != 3:
        raise ValueError(f"{str(path)!r} takes inputs {shapes}, but expected one of (n, h, w, 3).")
    return model


def _config(path):
    """Return the configuration inside a .keras file; read nothing of one that grows as it is unpacked."""
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())
            config = archive.getinfo("config.json").file_size
            if config > MOST_CONFIG or unpacked > GROWTH * path.stat().st_size + MOST_CONFIG:
                raise ValueError(f"it unpacks to {unpacked} bytes, {config} of them in config.json")
            return json.loads(archive.read("config.json"))
    except (OSError, KeyError, RecursionError, ValueError, zipfile.BadZipFile) as exc:
        raise ValueError(f"Cannot read {str(path)!r} as a .keras file: {str(exc).rstrip('.')}.") from exc


def _check_weights(path):
    """Refuse weights that lie in other files, or grow as they are read."""
    import h5py

    def note(name, found):
        # What is raised in here, h5py makes a SystemError of.
        if isinstance(found, (h5py.ExternalLink, h5py.SoftLink)):
            elsewhere.append(name)
        elif isinstance(found, h5py.Dataset):
            sizes.append(found.nbytes)
            if found.external or found.is_virtual:
                elsewhere.append(name)

    elsewhere, sizes = [], []
    try:
        with (
            zipfile.ZipFile(path) as archive,
            archive.open("model.weights.h5") as member,
            h5py.File(member, "r") as file,
        ):
            file.visititems_links(note)
            file.visititems(note)
        if elsewhere:
            raise ValueError(f"its weights {elsewhere[0]!r:.80} lie elsewhere")
        if sum(sizes) > GROWTH * path.stat().st_size + MOST_CONFIG:
            raise ValueError(f"its weights unpack to {sum(sizes)} bytes")
    except (OSError, KeyError, RuntimeError, ValueError, zipfile.BadZipFile) as exc:
        raise ValueError(f"Cannot load {str(path)!r} safely: {str(exc).rstrip('.')}.") from exc


def _static_size(path):
    """Return the size that a .keras file's input is fixed to, or None."""
    for part in _dicts(_config(path)):
        if part.get("class_name") == "InputLayer":
            shape = part["config"].get("batch_shape") or part["config"].get("batch_input_shape")
            return tuple(shape[1:3]) if len(shape) == 4 and None not in shape[1:3] else None
    return None


def _dicts(value):
    """Yield every dict inside nested dicts and lists."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from _dicts(part)
