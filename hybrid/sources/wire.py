"""Protocol buffers on the wire: the bytes of a message in, its fields out, with no package and no schema.

SavedModels and ONNX files say what they take in such messages; reading that must not cost an import.
"""

from __future__ import annotations

from collections.abc import Iterator

Data = bytes | memoryview
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
DAMAGED = "it is no such file, or damaged"
WIDTHS = {FIXED64: 8, FIXED32: 4}


def fields(data: Data) -> Iterator[tuple[int, int | memoryview]]:
    """Yield each field's number and value; nested messages, texts and arrays come as bytes."""
    view, place = memoryview(_bytes(data)), 0
    while place < len(view):
        key, place = _varint(view, place)
        number, kind = key >> 3, key & 7
        if not number or kind not in (VARINT, FIXED64, BYTES, FIXED32):
            raise ValueError(DAMAGED)
        if kind == VARINT:
            value, place = _varint(view, place)
        else:
            length = WIDTHS.get(kind)
            if length is None:
                length, place = _varint(view, place)
            if place + length > len(view):
                raise ValueError("the file is truncated")
            value, place = view[place : place + length], place + length
        yield number, value


def all_of(data: Data, number: int) -> list:
    """Return the values of a repeated field."""
    return [value for found, value in fields(data) if found == number]


def one_of(data: Data, number: int, default: int | bytes = b"") -> int | Data:
    """Return the value of a field."""
    return next(iter(all_of(data, number)[::-1]), default)


def text(value: Data) -> str:
    """Decode a text field."""
    return bytes(_bytes(value)).decode()


def signed(value: int) -> int:
    """Return an integer field that may be negative."""
    if not isinstance(value, int):
        raise ValueError(DAMAGED)
    return value - (1 << 64) if value >= 1 << 63 else value


def _bytes(value):
    if isinstance(value, int):
        raise ValueError(DAMAGED)
    return value


def _varint(view, place):
    value = 0
    for shift in range(0, 70, 7):
        if place >= len(view):
            raise ValueError("the file is truncated")
        byte = view[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError(DAMAGED)
