"""What a network in a file says of itself: the shapes of its inputs and outputs in, size and widths out."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path

from hybrid.sources.record import Stage

Shape = tuple[int | None, ...] | None


@dataclass(frozen=True)
class Signature:
    """One image in; None is what the file leaves open."""

    name: str = ""
    size: tuple[int, int] | None = None
    widths: dict[str, int | None] = field(default_factory=dict)


def signature(
    path: Path, name: str, inputs: dict[str, Shape], outputs: dict[str, Shape], channels_first: bool = False
) -> Signature:
    """Check that the inputs are one batch of colour images; `inputs` and `outputs` map names to shapes."""
    if len(inputs) != 1:
        raise ValueError(
            f"{os.fspath(path)!r} takes {len(inputs)} inputs ({', '.join(map(repr, inputs))}), "
            "but expected one, a batch of images. Export the part of it that takes images alone."
        )
    ((key, shape),) = inputs.items()
    if shape is None:
        return Signature(name, None, _widths(outputs, False))
    first = channels_first and len(shape) == 4 and shape[1] == 3
    if len(shape) != 4 or (shape[3] != 3 and not first):
        expected = (
            "(n, 3, height, width) or (n, height, width, 3)" if channels_first else "(n, height, width, 3)"
        )
        raise ValueError(
            f"{os.fspath(path)!r} takes {key!r} of shape {_told(shape)}, but expected images {expected}."
        )
    size = tuple(shape[2:] if first else shape[1:3])
    return Signature(name, None if None in size else size, _widths(outputs, first))


def last_and_others(
    widths: dict[str, int | None], asked: str | None, description: Path
) -> tuple[Stage | None, tuple[Stage, ...]]:
    """Return layer "last", and each other output as a layer of its own name."""
    if not widths:
        return (Stage("last", layer_name(asked)) if asked else None), ()
    names = ", ".join(map(repr, widths))
    if asked and asked not in widths:
        raise ValueError(f"Got output={asked!r} in {str(description)!r}, but the network gives {names}.")
    chosen = asked or ("default" if "default" in widths else None)
    if chosen is None and len(widths) > 1:
        raise ValueError(
            f"The network gives {len(widths)} outputs: {names}. Say which one layer 'last' is: write "
            f"output = {next(iter(widths))!r}, for instance, in {str(description)!r}."
        )
    chosen = chosen or next(iter(widths))
    others = (Stage(name, layer_name(name), width) for name, width in widths.items() if name != chosen)
    return Stage("last", layer_name(chosen), widths[chosen]), tuple(others)


def layer_name(output: str) -> str:
    """Return an output's name as a layer of Keras may have it."""
    return output.replace("/", ".")


def _widths(outputs, first):
    """Return the number of channels of each output."""
    places = {name: 1 if first and shape and len(shape) == 4 else -1 for name, shape in outputs.items()}
    return {
        name: shape[places[name]] if shape and len(shape) > 1 else None for name, shape in outputs.items()
    }


def _told(shape):
    return f"({', '.join('?' if n is None else str(n) for n in shape)})"
