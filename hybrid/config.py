"""An experiment file, a dict or nothing, and overrides in; one validated, frozen record out."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, ValidationError

from hybrid.features.recipe import read_range, read_size
from hybrid.fields import Absent, Section, Settings
from hybrid.kinds import KINDS, RBF, SVM, Finetune, Logistic

# What a value should be, by the type of pydantic's error.
EXPECTED = {
    "literal_error": "{expected}",
    "int_type": "a valid integer",
    "float_type": "a valid number",
    "string_type": "a valid string",
    "bool_type": "a valid boolean",
    "finite_number": "a finite number",
    "greater_than": "a value greater than {gt}",
    "greater_than_equal": "a value greater than or equal to {ge}",
    "less_than": "a value less than {lt}",
    "less_than_equal": "a value less than or equal to {le}",
}


def _is_kind(name: str) -> str:
    if name not in ("auto", *KINDS):
        raise ValueError(f"expected {', '.join(map(repr, ('auto', *KINDS)))}")
    return name


class Features(Section):
    """The featurizer's parameters. Layers or poolings in a list are searched, in a list inside it joined."""

    backbone: str = "efficientnet_lite0"
    weights: Annotated[str | None, Absent] = "imagenet"
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

    kind: Annotated[str, AfterValidator(_is_kind)] = "auto"
    class_weight: Literal["none", "balanced"] = "none"


class Search(Section):
    """How the best candidate is chosen, inside each training part."""

    validation: Literal["folds", "split"] = "folds"
    folds: int = Field(3, ge=2)
    score: Literal["accuracy", "balanced_accuracy", "macro_f1"] = "accuracy"
    max_fits: int = Field(60, ge=1)
    # Whether those that can hardly win any more are dropped after a fold; accuracy alone tells.
    race: bool = True


class _CV(Section):
    """How the scores are had."""

    folds: int = Field(5, ge=2)
    # "auto": two, and one for more than 1,000 images, whose folds differ little.
    repeats: Literal["auto"] | Annotated[int, Field(ge=1)] = "auto"
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
    logistic: Logistic = Logistic()
    svm: SVM = SVM()
    rbf: RBF = RBF()
    finetune: Finetune = Finetune()
    search: Search = Search()
    cv: _CV = _CV()
    curve: Curve = Curve()


ConfigSource = str | os.PathLike | Mapping | Config | None


def read_config(source: ConfigSource = None, overrides: Iterable[str] = ()) -> Config:
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


def _read(source: ConfigSource) -> tuple[str, dict]:
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
    if os.path.exists(path) and not os.path.isfile(path):
        raise ValueError(f"Got config={path!r}, which is no regular file, but expected a .toml file.")
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


def _put(values: dict, keys: list[str], value: Any, override: str) -> None:
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


def _explain(error: Mapping[str, Any], name: str, overridden: set[str]) -> str:
    """One line for one of pydantic's errors: key, value, where from, expectation, way out."""
    key = _dotted(error["loc"][:2])
    where = " on the command line" if key in overridden else f" in {name}"
    got = f"Got {key}={error['input']!r}{where}, but"
    if error["type"] == "extra_forbidden":
        hint = _hint(key, _names()) or f" The keys: {', '.join(_names())}."
        return f"{got} there is no such key.{hint}"
    if error["type"] == "model_type":
        return f"{got} expected a section, with keys of its own."
    expected = _expected(error)
    hint = _hint(str(error["input"]), re.findall("'(.+?)'", expected))
    return f"{got} expected {expected}.{hint}"


def _expected(error: Mapping[str, Any]) -> str:
    """What the value should have been; an error of ours ends in that."""
    context = error.get("ctx", {})
    if error["type"] == "value_error":
        return str(context["error"]).rpartition("expected ")[2].removesuffix(".")
    known = EXPECTED.get(error["type"])
    return known.format(**context) if known else error["msg"]
