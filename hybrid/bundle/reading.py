"""The skops bytes of a model in; the model out, built of nothing but estimators that are checked completely.

skops itself imports what a file names, and lets compiled code have its arrays as they come. Here a file is made
of few kinds of nodes; an estimator is one of the table in estimators.py, and checked before it exists.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import import_module
from inspect import signature
from typing import BinaryIO

import numpy as np
import sklearn

from hybrid.bundle.checks import COMMON, NotChecked, check_state, is_plain
from hybrid.bundle.estimators import ESTIMATORS
from hybrid.bundle.trees import build_tree

SCHEMA = "schema.json"
PROTOCOLS = range(3)
MOST_SCHEMA = 32 << 20
MOST_AXES = 4
# Parts that hold each other many times over are counted each time: so many nodes, and pages of arrays.
MOST_NODES, PAGE, MOST_SHARED = 1 << 21, 1 << 12, 8
TYPES = {"str": str, "int": int, "float": float, "bool": bool, "NoneType": type(None)}
SCALARS = ("float64", "float32", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool",
           "str_")  # fmt: skip


def read_model(data: bytes) -> object:
    """Return what `portable.dumps` was given; any exception means that it is not of the table's kinds."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        if archive.getinfo(SCHEMA).file_size > MOST_SCHEMA:
            raise ValueError(f"{SCHEMA!r} is larger than {MOST_SCHEMA} bytes")
        schema = json.loads(archive.read(SCHEMA))
        if type(schema["protocol"]) is not int or schema["protocol"] not in PROTOCOLS:
            raise ValueError(f"skops protocol {schema['protocol']!r:.40}")
        return Reader(archive, len(data)).read(schema)


@dataclass
class Reader:
    """An open file, how many of its bytes may become arrays, the nodes that were read, and what all have cost."""

    archive: zipfile.ZipFile
    size: int
    known: dict = field(default_factory=dict)
    cost: int = 0
    taken: int = 0

    def read(self, node: dict) -> object:
        """Build a node; one that was built before is the same object, and costs again."""
        key, before = node.get("__id__"), self.cost
        if key is not None and key in self.known:
            value, cost = self.known[key]
            self.cost += cost
        else:
            self.cost += 1
            value = _reader_of(node)(self, node)
            self.known[key] = value, self.cost - before
        if self.cost > MOST_NODES + MOST_SHARED * self.size // PAGE or self.taken > self.size:
            raise ValueError("its parts hold each other too many times")
        return value

    def array(self, name: str) -> np.ndarray:
        """Read an array whose bytes `check_array` counted."""
        self.taken += self.archive.getinfo(name).file_size
        if self.taken > self.size:
            raise ValueError("its arrays are read more often than they are there")
        with self.archive.open(name) as file:
            found = np.lib.format.read_array(file, allow_pickle=False)
        self.cost += found.nbytes // PAGE
        return found


def _reader_of(node: dict) -> Callable:
    loader, kind = node["__loader__"], (node["__module__"], node["__class__"])
    if loader == "ObjectNode" and ".".join(kind) in ESTIMATORS:
        return _read_object
    if (loader, *kind) in READERS:
        return READERS[loader, *kind]
    if loader == "NdArrayNode" and kind[0] == "numpy" and kind[1] in SCALARS:
        return _read_scalar
    if loader == "TypeNode" and kind[0] == "builtins" and kind[1] in TYPES:
        return _read_type
    raise NotChecked(f"it holds {kind[0]:.100}.{kind[1]:.100}, which is not checked")


def _read_json(reader: Reader, node: dict) -> object:
    value = json.loads(node["content"])
    if isinstance(value, (dict, list)):
        raise ValueError("a list or a dict where plain values stand")
    return value


def _read_list(reader: Reader, node: dict) -> list:
    return [reader.read(one) for one in node["content"]]


def _read_tuple(reader: Reader, node: dict) -> tuple:
    return tuple(_read_list(reader, node))


def _read_dict(reader: Reader, node: dict) -> dict:
    content, types = node["content"], node["key_types"]["content"]
    if len(content) != len(types):
        raise ValueError("a dict whose keys are not its own")
    kinds = [_read_key_type(one) for one in types]
    return {
        key if kind is str else kind(key): reader.read(one)
        for kind, (key, one) in zip(kinds, content.items(), strict=True)
    }


def _read_bunch(reader: Reader, node: dict) -> dict:
    from sklearn.utils import Bunch

    return Bunch(**_read_dict(reader, node))


def _read_key_type(node: dict) -> type:
    """Return the type of a dict's key; NumPy's own are saved by name, their keys as Python's."""
    name = node["__class__"]
    kinds = {"str_": str, "int64": int, "int32": int, "float64": float, "bool": bool}
    if node["__module__"] == "numpy" and name in kinds:
        return getattr(np, name)
    return _read_type(None, node)


def _read_type(reader: Reader | None, node: dict) -> type:
    if node["__module__"] != "builtins":
        raise ValueError(f"the type {node['__class__']!r:.80}")
    return TYPES[node["__class__"]]


def _read_slice(reader: Reader, node: dict) -> slice:
    parts = [node["content"][name] for name in ("start", "stop", "step")]
    if not all(part is None or type(part) is int for part in parts):
        raise ValueError("a slice of other things than numbers")
    return slice(*parts)


def _read_ndarray(reader: Reader, node: dict) -> np.ndarray:
    if node["type"] == "numpy":
        return reader.array(node["file"])
    items, shape = _read_list(reader, node), reader.read(node["shape"])
    if not all(map(is_plain, items)) or shape != (len(items),):
        raise ValueError("an array of objects that are not plain values")
    found = np.empty(len(items), object)
    found[:] = items
    return found


def _read_scalar(reader: Reader, node: dict) -> np.generic:
    found = reader.array(node["file"])
    if found.shape != () or found.dtype.kind not in "fiubU":
        raise ValueError("a number that is an array")
    return found[()]


def _read_object(reader: Reader, node: dict) -> object:
    """Build an estimator of what its table says that it holds, without running its `__init__`."""
    module, name = node["__module__"], node["__class__"]
    state = reader.read(node["content"])
    if not isinstance(state, dict):
        raise ValueError(f"{name} without attributes")
    kind, table = getattr(import_module(module), name), ESTIMATORS[f"{module}.{name}"]
    if state.pop("_sklearn_version", sklearn.__version__) != sklearn.__version__:
        state = _translated(kind, table, state)
    check_state(kind, table, state)
    found = kind.__new__(kind)
    if module.startswith("sklearn.") and hasattr(kind, "__setstate__"):
        # By it, isotonic regression makes the function that it interpolates by.
        found.__setstate__(state | {"_sklearn_version": sklearn.__version__})
    else:
        found.__dict__.update(state)
    return found


def _translated(kind: type, table: dict[str, str], state: dict) -> dict:
    """Return what another version of scikit-learn saved with this one's parameters; the probes tell what it does."""
    defaults = {name: one.default for name, one in signature(kind).parameters.items()}
    known = defaults.keys() | {name.rstrip("?") for name in COMMON | table}
    return defaults | {name: value for name, value in state.items() if name in known or not is_plain(value)}


def _read_tree(reader: Reader, node: dict) -> object:
    arguments, state = reader.read(node["__reduce__"]["args"]), reader.read(node["content"])
    return build_tree(arguments, state)


READERS = {
    ("JsonNode", "builtins", "str"): _read_json,
    ("ListNode", "builtins", "list"): _read_list,
    ("TupleNode", "builtins", "tuple"): _read_tuple,
    ("DictNode", "builtins", "dict"): _read_dict,
    ("DictNode", "sklearn.utils._bunch", "Bunch"): _read_bunch,
    ("SliceNode", "builtins", "slice"): _read_slice,
    ("NdArrayNode", "numpy", "ndarray"): _read_ndarray,
    ("TreeNode", "sklearn.tree._tree", "Tree"): _read_tree,
}


def check_array(name: str, file: BinaryIO, size: int):
    """Refuse an array whose header promises other bytes than follow: NumPy would make room for them first."""
    version = np.lib.format.read_magic(file)
    read_header = {(1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0}
    shape, _, dtype = read_header[version](file)
    promised = int(np.prod([int(n) for n in shape], dtype=object)) * dtype.itemsize
    empty = dtype.itemsize == 0 and shape != ()
    if promised != size - file.tell() or dtype.hasobject or empty or len(shape) > MOST_AXES:
        raise ValueError(f"{name!r} promises {promised} bytes of shape {shape!r:.80}")
