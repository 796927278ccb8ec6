"""An experiment file, a dict or nothing, and overrides in; one validated, frozen record out."""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from hybrid.features.recipe import read_range, read_size


def as_values(value: Any) -> Any:
    """One value, or a list of values to search, as a tuple."""
    return tuple(value) if isinstance(value, list | tuple) else (value,)


def as_settings(value: Any) -> Any:
    """Names to search as a tuple of tuples; names in a list of their own are concatenated."""
    return tuple(tuple(one) if isinstance(one, list | tuple) else (one,) for one in as_values(value))


def different(values: tuple) -> tuple:
    if not values or len(set(values)) < len(values):
        raise ValueError("expected one value, or a list of different ones")
    return values


def is_gamma(value: Any) -> Any:
    number = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < float("inf")
    if not number and value not in ("scale", "auto"):
        raise ValueError("expected 'scale', 'auto' or a number above 0")
    return value


def as_numbers(value: Any) -> Any:
    """Numbers to search; {low = 1e-6, high = 1e5, n = 45} stands for so many at equal ratios."""
    if isinstance(value, dict):
        if set(value) != {"low", "high", "n"} or not all(isinstance(v, int | float) for v in value.values()):
            raise ValueError("expected numbers, or {low = ..., high = ..., n = ...}")
        low, high, n = value["low"], value["high"], value["n"]
        if not 0 < low < high or n not in range(2, 1001):
            raise ValueError("expected 0 < low < high, and n from 2 to 1000")
        return tuple(low * (high / low) ** (i / (n - 1)) for i in range(n))
    return as_values(value)


Number = Annotated[float, Field(gt=0, allow_inf_nan=False)]
Numbers = Annotated[tuple[Number, ...], BeforeValidator(as_numbers), AfterValidator(different)]
Gamma = Annotated[Any, AfterValidator(is_gamma)]
Gammas = Annotated[tuple[Gamma, ...], BeforeValidator(as_values), AfterValidator(different)]
Scaler = Literal["standard", "l2", "none"]
Kernel = Literal["rbf", "linear"]
Kernels = Annotated[tuple[Kernel, ...], BeforeValidator(as_values), AfterValidator(different)]
Settings = Annotated[tuple[tuple[str, ...], ...], BeforeValidator(as_settings), AfterValidator(different)]
Absent = BeforeValidator(lambda name: None if name == "none" else name)
Weights = Annotated[str | None, Absent]


class Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class Features(Section):
    """The featurizer's parameters. Layers or poolings in a list are searched, in a list inside it joined."""

    backbone: str = "efficientnet_lite0"
    weights: Weights = "imagenet"
    # "auto": the last layer, the stage before it, and both together.
    layers: Settings = (("auto",),)
    pooling: Settings = (("avg",),)
    image_size: Annotated[Any, AfterValidator(read_size)] = None
    resize: Literal["crop", "squash", "pad"] = "crop"
    value_range: Annotated[Any, AfterValidator(read_range)] = None
    views: int = Field(1, ge=1, le=10)
    engine: Literal["auto", "tensorflow", "openvino", "tiny"] = "auto"
    precision: Literal["auto", "float32", "bfloat16", "int8"] = "auto"
    batch_size: int = Field(32, ge=1)


class Model(Section):
    """Which classifiers compete; "balanced" gives every class the same weight."""

    kind: Literal["auto", "svm", "logistic", "finetune"] = "auto"
    class_weight: Literal["none", "balanced"] = "none"


class SVM(Section):
    # Pooled features share one scale; on small sets an RBF kernel does better without standardising them.
    scaler: Scaler = "none"
    C: Numbers = (10.0, 1.0, 100.0)
    gamma: Gammas = ("scale",)
    kernel: Kernels = ("rbf",)


class Logistic(Section):
    scaler: Scaler = "standard"
    C: Numbers = (0.1, 0.01, 1.0)
    max_iter: int = Field(1000, ge=1)


class Finetune(Section):
    """A dense head on the last layer and, with `unfreeze`, the network tuned with it."""

    hidden: Annotated[tuple[Annotated[int, Field(ge=1)], ...], BeforeValidator(as_values)] = (128,)
    dropout: float = Field(0.3, ge=0, lt=1)
    epochs: int = Field(50, ge=0)
    learning_rate: Number = 0.001
    unfreeze: Annotated[str | int | None, Absent] = None
    tuning_epochs: int = Field(10, ge=1)
    tuning_rate: Number = 0.0001
    label_smoothing: float = Field(0.0, ge=0, lt=1)
    patience: Annotated[int, Field(ge=1)] | None = None


class Search(Section):
    """How the best candidate is chosen, inside each training part."""

    validation: Literal["folds", "split"] = "folds"
    folds: int = Field(3, ge=2)
    score: Literal["accuracy", "balanced_accuracy", "macro_f1"] = "accuracy"
    max_fits: int = Field(60, ge=1)


class CV(Section):
    """How the scores are had."""

    folds: int = Field(5, ge=2)
    repeats: int = Field(2, ge=1)
    keep_duplicates_together: bool = True
    threshold: float = Field(0.9, gt=0, le=1)
    baselines: bool = True


class Data(Section):
    on_error: Literal["raise", "skip"] = "raise"


class Curve(Section):
    on: bool = True
    factor: float = Field(2.0, gt=1, le=4)


class Config(Section):
    """One experiment. See configs/ for examples."""

    seed: int = Field(0, ge=0, lt=2**32)
    data: Data = Data()
    features: Features = Features()
    model: Model = Model()
    svm: SVM = SVM()
    logistic: Logistic = Logistic()
    finetune: Finetune = Finetune()
    search: Search = Search()
    cv: CV = CV()
    curve: Curve = Curve()


def read_config(source=None, overrides: Iterable[str] = ()) -> Config:
    """Read and check an experiment.

    Parameters
    ----------
    source : path, dict, Config or None, default=None
        A ``.toml`` file, the same as a dict, or None for the defaults. What is left out has its default.
    overrides : iterable of str, default=()
        Such as ``"svm.C=10"`` or ``"svm.C=[1, 10]"``: a value in TOML's notation, or a bare word.

    Returns
    -------
    Config

    Examples
    --------
    >>> read_config({"model": {"kind": "svm"}}, ["svm.C=[1, 10]"]).svm.C
    (1.0, 10.0)
    >>> read_config({"svm": {"c": 10}})
    Traceback (most recent call last):
        ...
    ValueError: Got svm.c=10 in the given dict, but there is no such key. Did you mean 'svm.C'?
    """
    name, values = _read(source)
    for override in overrides:
        keys, value = _parse(override)
        _put(values, keys, value, override)
    try:
        return Config.model_validate(values)
    except ValidationError as exc:
        given = {_dotted(_parse(override)[0]) for override in overrides}
        raise ValueError("\n".join(_explain(error, name, given) for error in exc.errors())) from None


def _read(source) -> tuple[str, dict]:
    """Return what to call the source, and a copy of its values."""
    if source is None:
        return "the defaults", {}
    if isinstance(source, Config):
        return "the given config", source.model_dump()
    if isinstance(source, Mapping):
        return "the given dict", {k: dict(v) if isinstance(v, Mapping) else v for k, v in source.items()}
    if not isinstance(source, str | os.PathLike):
        raise TypeError(f"Got config={source!r}, but expected a .toml file, a dict or None.")
    path = os.path.expanduser(os.fspath(source))
    try:
        with open(path, "rb") as file:
            return path, tomllib.load(file)
    except FileNotFoundError:
        raise ValueError(f"Got config={path!r}, but there is no such file.{_beside(path)}") from None
    except OSError as exc:
        raise ValueError(f"Cannot read the config {path!r}: {exc.strerror}.") from exc
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as exc:
        raise ValueError(f"Cannot read {path!r} as TOML: {exc}. See https://toml.io.") from exc


def _beside(path: str) -> str:
    folder, name = os.path.split(path)
    names = os.listdir(folder or ".") if os.path.isdir(folder or ".") else []
    return _hint(name, sorted(one for one in names if one.endswith(".toml")))


def _parse(override: str) -> tuple[list[str], Any]:
    """Split "svm.C=10" into its keys and its value."""
    key, equals, text = override.partition("=")
    keys = [part.strip() for part in key.split(".")]
    if not equals or not all(keys):
        raise ValueError(f"Got {override!r}, but expected key=value, such as svm.C=10.")
    text = text.strip()
    try:
        parsed = tomllib.loads(f"value = {text}")
    except tomllib.TOMLDecodeError:
        return keys, text
    return keys, parsed["value"] if list(parsed) == ["value"] else text


def _put(values: dict, keys: list[str], value, override: str):
    for key in keys[:-1]:
        values = values.setdefault(key, {})
        if not isinstance(values, dict):
            raise ValueError(f"Got {override!r}, but {key!r} is no section.")
    values[keys[-1]] = value


def _dotted(keys: Iterable) -> str:
    return ".".join(key for key in keys if isinstance(key, str))


def _names() -> list[str]:
    """All keys that a config may have, with dots."""
    names = []
    for name, field in Config.model_fields.items():
        nested = getattr(field.annotation, "model_fields", None)
        names += [name] if nested is None else [name, *(f"{name}.{key}" for key in nested)]
    return names


def _hint(got: str, names: Iterable[str]) -> str:
    """Name what was probably meant: the same but for its case, the same key elsewhere, or one spelt alike."""
    lower = {name.lower(): name for name in names}
    found = [lower[got.lower()]] if got.lower() in lower else []
    key = got.lower().rpartition(".")[2]
    found = found or [lower[name] for name in lower if name.rpartition(".")[2] == key]
    found = found or [lower[name] for name in difflib.get_close_matches(got.lower(), lower, n=1)]
    return f" Did you mean {' or '.join(map(repr, found))}?" if found else ""


def _explain(error, name: str, overridden: set[str]) -> str:
    """One line for one of pydantic's errors: key, value, where from, expectation, way out."""
    key = _dotted(error["loc"][:2])
    where = " on the command line" if key in overridden else f" in {name}"
    got = f"Got {key}={error['input']!r}{where}, but"
    if error["type"] == "extra_forbidden":
        hint = _hint(key, _names()) or f" The keys: {', '.join(_names())}."
        return f"{got} there is no such key.{hint}"
    if error["type"] == "model_type":
        return f"{got} expected a section, with keys of its own."
    text = error["msg"].rpartition("expected ")[2].removeprefix("Input should be ").removesuffix(".")
    text = f"a value {text}" if text.startswith(("greater", "less")) else text
    allowed = error.get("ctx", {}).get("expected", "").replace(" or ", ", ").replace("'", "").split(", ")
    return f"{got} expected {text}.{_hint(str(error['input']), allowed)}"
