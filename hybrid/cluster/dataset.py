"""A folder of parts: who may write into it, what it is to hold, what is there already, and its summary at the end."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from hashlib import blake2b
from pathlib import Path
from secrets import token_hex

from hybrid.archive.place import whole
from hybrid.cluster.listing import Listing
from hybrid.cluster.part import Part
from hybrid.features.recipe import Recipe

try:
    import fcntl
except ImportError:  # Windows, where nobody is held off
    fcntl = None

# Raise it whenever a folder would be read otherwise than it was written.
VERSION = 1
# What readers of a dataset pass over begins so.
MANIFEST, ERRORS, LOCK = "_manifest.json", "_errors.parquet", "_lock"
# The key of what a part's footer says of it.
FOOTER = b"hybrid"


def part_name(number: int) -> str:
    return f"part-{number:08d}.parquet"


@contextmanager
def alone(out: str) -> Iterator[None]:
    """Hold other drivers off a folder, which is made where there is none; a driver that is killed lets go of it."""
    os.makedirs(out, exist_ok=True)
    there = os.listdir(out)
    if there and not {MANIFEST, LOCK} & set(there):
        raise ValueError(
            f"{out!r} holds {len(there)} files, such as {min(there)!r}, but no {MANIFEST}. Choose an empty folder."
        )
    with open(os.path.join(out, LOCK), "a") as file:
        try:
            if fcntl:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ValueError(
                f"Another process is writing parts into {out!r}. Wait for it, or choose another folder."
            ) from None
        # What killed workers left behind.
        for draft in (".part-*", f".{MANIFEST}.*", f".{ERRORS}.*"):
            for path in Path(out).glob(draft):
                path.unlink(missing_ok=True)
        yield


@dataclass(frozen=True)
class Purpose:
    """What a folder is to hold: images of one list, in parts of one size, by one recipe."""

    source: str
    part_size: int
    columns: tuple[str, ...]
    recipe: dict
    features: tuple[dict, ...]

    @classmethod
    def of(cls, listing: Listing, part_size: int, recipe: Recipe) -> Purpose:
        """Say what the images of a list become by a recipe."""
        features = tuple(
            {"layer": layer, "pooling": pooling, "width": width, "recipe": recipe.text((layer, pooling))}
            for (layer, pooling), width in zip(recipe.parts, recipe.widths(), strict=True)
        )
        columns = ("path", "digest", *listing.schema.names, "features")
        return cls(listing.name, part_size, columns, json.loads(recipe.scope), features)

    @property
    def identity(self) -> str:
        text = json.dumps([VERSION, asdict(self)], sort_keys=True, default=str)
        return blake2b(text.encode(errors="surrogatepass"), digest_size=16).hexdigest()

    def to_json(self) -> dict:
        about = {"format": "hybrid features", "version": VERSION, "identity": self.identity}
        return json.loads(json.dumps(about | asdict(self), default=str))


def read_manifest(out: str) -> dict:
    """Return what the manifest of a folder says; nothing where there is none."""
    try:
        return json.loads(Path(out, MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as exc:
        raise ValueError(f"Cannot read {MANIFEST} in {out!r}: {exc}. Choose another folder.") from exc


def refuse_another(out: str, wanted: Purpose) -> None:
    """Refuse a folder that has another purpose."""
    found = read_manifest(out)
    if found and found.get("identity") != wanted.identity:
        raise ValueError(
            f"{out!r} holds other features: {'; '.join(_differences(found, wanted.to_json()))}. Choose another "
            "folder, remove this one, or ask for what it holds."
        )


def begin(out: str, wanted: Purpose) -> str:
    """Say in the manifest that parts are missing; return what this driver's workers know each other by."""
    run = token_hex(8)
    _write_manifest(out, wanted.to_json() | {"complete": False, "run": run})
    return run


def _differences(there: dict, here: dict) -> Iterator[str]:
    """Say what differs between two manifests."""
    for key in ("version", "source", "part_size", "columns"):
        if there.get(key) != here[key]:
            yield f"{key} {there.get(key)!r} there, {here[key]!r} here"
    for key, value in here["recipe"].items():
        old = there.get("recipe", {}).get(key)
        if old != value:
            yield f"{key} {old!r} there, {value!r} here"
    old, new = (
        [(one["layer"], one["pooling"]) for one in said.get("features", ())] for said in (there, here)
    )
    if old != new:
        yield f"layers {old} there, {new} here"


def _write_manifest(out: str, said: dict) -> None:
    with whole(Path(out, MANIFEST), "utf-8") as file:
        json.dump(said, file, indent=1)


def _read_footer(path: str) -> dict | None:
    """Return what a part says of itself, and its rows; None where there is none, or a damaged one."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            said = json.loads(file.schema_arrow.metadata[FOOTER])
            return said | {"rows": file.metadata.num_rows}
    except (OSError, KeyError, TypeError, ValueError, pyarrow.ArrowException):
        return None


@dataclass(eq=False)
class Ledger:
    """The parts of a folder that are there: a line for each in the manifest, and the images that failed."""

    out: str
    identity: str
    parts: dict[int, dict] = field(default_factory=dict)
    errors: dict[int, list] = field(default_factory=dict)

    def has(self, part: Part) -> bool:
        """Tell whether a part is there already; refuse one that was made of other images."""
        path = os.path.join(self.out, part_name(part.number))
        said = _read_footer(path)
        if said is None:
            return False
        if said["identity"] != self.identity or said["inputs"] != part.digest():
            raise ValueError(
                f"{path!r} was made of other images than rows {part.first} to {part.first + len(part.about) - 1} of "
                "this list. Choose another folder, give the list that it was made of, or remove the folder: only this "
                "part, if its rows alone have changed."
            )
        self.add(part.number, said)
        return True

    def add(self, number: int, said: dict) -> None:
        """Enter what a part's footer says."""
        errors = said["errors"]
        self.parts[number] = {
            "file": part_name(number), "rows": said["rows"], "errors": len(errors), "inputs": said["inputs"],
        }  # fmt: skip
        if errors:
            self.errors[number] = errors

    @property
    def rows(self) -> int:
        return sum(part["rows"] for part in self.parts.values())

    @property
    def failed(self) -> int:
        return sum(map(len, self.errors.values()))

    def finish(self, wanted: Purpose) -> None:
        """Write the list of images that failed, and the manifest of a folder that is complete."""
        import pyarrow
        import pyarrow.parquet

        files = {path.name for path in Path(self.out).glob("part-*.parquet")}
        more = sorted(files - {part["file"] for part in self.parts.values()})
        if more:
            raise ValueError(
                f"{self.out!r} holds {len(more)} parts of a longer list, such as {more[0]!r}. Choose another folder, "
                "remove this one, or give the list that it was made of."
            )
        failed = [
            (*error, part_name(number)) for number in sorted(self.errors) for error in self.errors[number]
        ]
        if failed:
            columns = dict(zip(("path", "reason", "part"), map(list, zip(*failed, strict=True)), strict=True))
            with whole(Path(self.out, ERRORS)) as file:
                pyarrow.parquet.write_table(pyarrow.table(columns), file)
        else:
            Path(self.out, ERRORS).unlink(missing_ok=True)
        parts = [self.parts[number] for number in sorted(self.parts)]
        counts = {"complete": True, "rows": self.rows, "errors": self.failed}
        _write_manifest(self.out, wanted.to_json() | counts | {"parts": parts})
