"""A SavedModel's folder in; its signature, read without TensorFlow, or a Keras model around it out.

TensorFlow 2's (TF Hub's, `Model.export`'s) and TensorFlow 1's, whose TF Hub modules have the signature "default".
Loading one runs its graph, which can read and write files: the first load of a folder says so.
"""

from __future__ import annotations

import warnings
from functools import lru_cache
from pathlib import Path

from hybrid.sources import description
from hybrid.sources.record import Backbone
from hybrid.sources.signature import Signature, last_and_others, layer_name, signature
from hybrid.sources.source import Network
from hybrid.sources.wire import all_of, fields, one_of, signed, text
from hybrid.weights.files import Weights, brought

KIND = "a SavedModel folder"
FILE = "saved_model.pb"
USUAL = ("serving_default", "serve", "default")
# Called itself, where it has no signature.
CALL = "__call__"
# tensorflow.DType.as_datatype_enum of the numbers that pixels may be.
NUMBERS = (1, 2, 3, 4, 5, 6, 9, 14, 17, 19, 22)
_announced: set = set()


def reads(path: Path) -> bool:
    return (path / FILE).is_file()


def read(path: Path) -> Backbone:
    says = {"family": "saved model", "source": __name__, "frozen": "a SavedModel"}
    return description.read(path, lambda asked: describe(path, asked), **says)


def own_weights(record: Backbone, top: bool) -> Weights:
    """Return those inside; every file of the folder is part of their fingerprint."""
    return brought(record.path, sorted(record.path.rglob("*")))


def describe(path: Path, asked: str | None = None) -> Signature:
    """Return what a SavedModel says of the images it takes."""
    file = path / FILE
    try:
        _, signatures, is_object = _read(file, _version(file))
    except ValueError as exc:
        raise ValueError(f"Cannot read {str(file)!r} as a SavedModel: {exc}. Copy it again.") from exc
    name = asked or next((one for one in USUAL if one in signatures), None)
    if name is None and is_object:
        return Signature(CALL)
    if name not in signatures:
        wanted = f"signature={asked!r} asks for" if asked else "'serving_default' or 'default' was expected"
        known = ", ".join(map(repr, signatures)) or "none"
        raise ValueError(
            f"{str(path)!r} has not the signature that {wanted}; it has: {known}. Name one of these in "
            f'{str(path / "hybrid.toml")!r}, as in signature = "NAME", or export the network with one.'
        )
    inputs, outputs = signatures[name]
    shapes = {key: shape for key, (shape, _) in inputs.items()}
    kinds = {kind for _, kind in inputs.values()}
    if len(inputs) == 1 and not kinds <= set(NUMBERS):
        raise ValueError(
            f"{str(path)!r} takes {next(iter(inputs))!r}, which is no array of numbers, but expected images "
            "(n, height, width, 3). Export the network without the decoding of files."
        )
    found = signature(path, name, shapes, {key: shape for key, (shape, _) in outputs.items()})
    batch = next(iter(shapes.values()))
    if batch is not None and batch[0] is not None:
        raise ValueError(
            f"{str(path)!r} takes batches of {batch[0]} only, but expected any number of images. "
            "Export it with None as the first dimension."
        )
    return found


def build(network: Network):
    """Return a Keras model around a SavedModel; each of its outputs is a layer of its own name."""
    import keras

    record, size = network.backbone, network.size
    call = _loaded_call(record)

    def outputs_of(images):
        found = call(images)
        found = found if isinstance(found, dict) else {"output": found}
        return {layer_name(name): value for name, value in found.items()}

    inputs = keras.Input((*size, 3))
    try:
        outputs = keras.layers.Lambda(outputs_of)(inputs)
    except (TypeError, ValueError, NotImplementedError) as exc:
        raise ValueError(
            f"{str(record.path)!r} cannot be called with images (n, {size[0]}, {size[1]}, 3) alone. Write the size "
            f"that it takes in {str(record.description)!r}, or export it with the signature 'serving_default'."
        ) from exc
    asked = record.last.layer if record.last else None
    last = last_and_others(dict.fromkeys(sorted(outputs)), asked, record.description)[0].layer
    names = sorted(outputs, key=lambda name: (name != last, name))
    return keras.Model(inputs, [keras.layers.Identity(name=name)(outputs[name]) for name in names])


def _loaded_call(record):
    """Load the SavedModel; return the function from float32 images to its outputs."""
    import tensorflow as tf

    path = record.path
    _announce(path)
    tags, _, is_object = _read(path / FILE, _version(path / FILE))
    try:
        return (_object if is_object else _graph_1)(tf, path, list(tags), record.function)
    except (tf.errors.OpError, OSError, ValueError, KeyError) as exc:
        reason = (str(exc).strip().splitlines() or [type(exc).__name__])[0]
        raise ValueError(
            f"Cannot load {str(path)!r}: {reason:.300}. A SavedModel is a whole folder, {FILE} and "
            "variables/ with variables.index and variables.data-*: copy it again."
        ) from exc


def _object(tf, path, tags, name):
    """Load what TensorFlow 2 saved."""
    loaded = tf.saved_model.load(str(path), tags=tags)
    if name != CALL:
        function = loaded.signatures[name]
        ((key, wanted),) = function.structured_input_signature[1].items()
        # `loaded` in the closure: its functions do not keep its variables alive.
        return lambda images, owner=loaded: function(**{key: tf.cast(images, wanted.dtype)})
    if not callable(loaded):
        raise ValueError(
            "it has no signature and cannot be called; export it with signature 'serving_default'"
        )
    return loaded


def _graph_1(tf, path, tags, name):
    """Load what TensorFlow 1 saved, its variables as constants: TensorFlow 2 cannot freeze the oldest kind."""
    from tensorflow.python.framework.convert_to_constants import (
        convert_variables_to_constants_from_session_graph as freeze,
    )

    v1 = tf.compat.v1
    with v1.Graph().as_default() as graph, v1.Session() as session:
        signature = v1.saved_model.load(session, tags, str(path)).signature_def[name]
        outputs = {key: tensor.name for key, tensor in signature.outputs.items()}
        nodes = sorted({tensor.partition(":")[0] for tensor in outputs.values()})
        frozen = freeze(session, graph.as_graph_def(), nodes)
    (entry,) = signature.inputs.values()

    def call(images):
        feed = {entry.name: tf.cast(images, entry.dtype)}
        return dict(zip(outputs, tf.import_graph_def(frozen, feed, list(outputs.values())), strict=True))

    return call


def _announce(path):
    if path not in _announced:
        _announced.add(path)
        warnings.warn(
            f"Loading the SavedModel {str(path)!r} runs its graph, which may read and write files: "
            "load those alone that you trust.",
            UserWarning,
            stacklevel=2,
        )


def _version(file):
    status = file.stat()
    return status.st_mtime_ns, status.st_size


@lru_cache(maxsize=64)
def _read(file, version):
    """Return the tags and signatures of the graph that serves, and whether it is TensorFlow 2's."""
    graphs = [_graph(graph) for graph in all_of(file.read_bytes(), 2)]
    if not graphs:
        raise ValueError("it holds no graph")
    # TF Hub's modules for TensorFlow 1 hold one graph without tags, and one with "train".
    ranks = {("serve",): 0, (): 1}
    return min(graphs, key=lambda graph: ranks.get(graph[0], 2))


def _graph(data):
    tags, signatures, is_object = (), {}, False
    for number, value in fields(data):
        if number == 1:
            tags = tuple(sorted(text(tag) for tag in all_of(value, 4)))
        elif number == 5:
            name = text(one_of(value, 1))
            if not name.startswith("__"):
                signatures[name] = tuple(_tensors(one_of(value, 2), kind) for kind in (1, 2))
        elif number == 7:
            is_object = True
    return tags, signatures, is_object


def _tensors(data, number):
    """Return shape and number type by name."""
    entries = {text(one_of(entry, 1)): one_of(entry, 2) for entry in all_of(data, number)}
    return {name: (_shape(one_of(entries[name], 3)), one_of(entries[name], 2, 0)) for name in sorted(entries)}


def _shape(data):
    if one_of(data, 3, 0):
        return None
    sizes = (signed(one_of(dimension, 1, 0)) for dimension in all_of(data, 2))
    return tuple(None if size < 0 else size for size in sizes)
