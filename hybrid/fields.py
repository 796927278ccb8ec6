"""What the keys of a config may be: a value as TOML has it in, the tuple, number or name that it means out."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field


class Section(BaseModel):
    """A part of a config: strict, frozen, and without unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


def as_values(value: Any) -> Any:
    """One value, or a list of values to search, as a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def _as_settings(value: Any) -> Any:
    """Names to search as a tuple of tuples; names in a list of their own are concatenated."""
    return tuple(tuple(one) if isinstance(one, list | tuple) else (one,) for one in as_values(value))


def _as_numbers(value: Any) -> Any:
    """Numbers to search; {low = 1e-6, high = 1e5, n = 45} stands for so many at equal ratios."""
    if isinstance(value, dict):
        if set(value) != {"low", "high", "n"} or not all(isinstance(v, int | float) for v in value.values()):
            raise ValueError("expected numbers, or {low = ..., high = ..., n = ...}")
        low, high, n = value["low"], value["high"], value["n"]
        if not 0 < low < high or n not in range(2, 1001):
            raise ValueError("expected 0 < low < high, and n from 2 to 1000")
        return tuple(low * (high / low) ** (i / (n - 1)) for i in range(n))
    return as_values(value)


def different(values: tuple) -> tuple:
    if not values or len(set(values)) < len(values):
        raise ValueError("expected one value, or a list of different ones")
    return values


def _is_gamma(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    if not number and value not in ("scale", "auto"):
        raise ValueError("expected 'scale', 'auto' or a number above 0")
    return value


def several(kind: Any, read: Any = as_values) -> Any:
    """The type of one value, or of several that are searched."""
    return Annotated[tuple[kind, ...], BeforeValidator(read), AfterValidator(different)]


Number = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Numbers = several(Number, _as_numbers)
Gammas = several(Annotated[Any, AfterValidator(_is_gamma)])
Settings = several(tuple[str, ...], _as_settings)
Absent = BeforeValidator(lambda name: None if name == "none" else name)
