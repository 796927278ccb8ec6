"""An old-format PyTorch file of weights in, NumPy arrays out: without PyTorch, and without running the file.

The format is four pickles (magic number, version, machine, names of tensors), a list of keys, and then each
storage's length and raw numbers. The pickles may name nothing but ordered dicts, tensors and storages.
"""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from dataclasses import dataclass

import numpy as np

MAGIC, VERSION = 0x1950A86A20F9469CFC6C, 1001
STORAGES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "LongStorage": "<i8"}


@dataclass(frozen=True)
class _Storage:
    """A run of numbers that comes later in the file."""

    key: str
    dtype: str
    length: int


@dataclass(frozen=True)
class Tensor:
    """A view into a storage."""

    storage: _Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]


def read_torch(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Return the arrays of a state dict by name; refuse a file that is none, is cut short or names anything else."""
    try:
        with open(path, "rb") as file:
            return _read(file)
    except OSError:
        raise
    except Exception as exc:
        # A hostile or damaged pickle can fail in any way.
        reason = str(exc) or type(exc).__name__
        raise ValueError(
            f"Cannot read {os.fspath(path)!r} as a PyTorch file of weights: {reason.rstrip('.')}. "
            "Install the package that it came in again."
        ) from exc


def _read(file):
    magic, version, machine, state = (_Unpickler(file).load() for _ in range(4))
    if magic != MAGIC or version != VERSION or machine.get("little_endian") is not True:
        raise ValueError("not the old format of PyTorch on a little-endian machine")
    keys = _Unpickler(file).load()
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    storages = {tensor.storage.key: tensor.storage for tensor in tensors.values()}
    numbers = {key: _read_storage(file, storages[key]) for key in keys}
    return {name: _view(name, tensor, numbers[tensor.storage.key]) for name, tensor in tensors.items()}


def _read_storage(file, storage):
    length = int.from_bytes(file.read(8), "little")
    if length != storage.length:
        raise ValueError(f"storage {storage.key} has {length} numbers where {storage.length} were announced")
    size = length * np.dtype(storage.dtype).itemsize
    if size > os.fstat(file.fileno()).st_size - file.tell():
        raise ValueError("it is cut short")
    return np.frombuffer(file.read(size), storage.dtype)


def _view(name, tensor, numbers):
    """Return a tensor's numbers, checked to lie inside its storage."""
    sizes = (tensor.offset, *tensor.shape, *tensor.strides)
    if len(tensor.shape) != len(tensor.strides) or not all(type(n) is int and n >= 0 for n in sizes):
        raise ValueError(f"tensor {name} has the shape {tensor.shape} and the strides {tensor.strides}")
    reach = tensor.offset + sum((n - 1) * step for n, step in zip(tensor.shape, tensor.strides, strict=True))
    if 0 in tensor.shape or reach >= len(numbers):
        raise ValueError(f"tensor {name} {tensor.shape} does not fit into its {len(numbers)} numbers")
    strides = [step * numbers.itemsize for step in tensor.strides]
    view = np.lib.stride_tricks.as_strided(numbers[tensor.offset :], tensor.shape, strides, writeable=False)
    return np.ascontiguousarray(view)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return lambda storage, offset, shape, strides, *_: Tensor(storage, offset, shape, strides)
        if module == "torch" and name in STORAGES:
            return STORAGES[name]
        raise pickle.UnpicklingError(f"it names {module}.{name}, which no file of weights needs")

    def persistent_load(self, name):
        kind, dtype, key, _, length, view = name
        if kind != "storage" or dtype not in STORAGES.values() or view is not None or type(length) is not int:
            raise pickle.UnpicklingError(f"it refers to {name!r}")
        return _Storage(key, dtype, length)
