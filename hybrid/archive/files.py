"""A bundle's files: a folder, or one uncompressed .hybrid zip, in; names, sizes and bytes out, and back.

Names, kinds and sizes are checked before anything is read, and nothing is ever unpacked to disk.
"""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hybrid.archive.place import beside, flush, whole

SUFFIX = ".hybrid"
NAME = re.compile(r"[a-z]+(-[0-9]+)?\.[a-z]+")
MAX_FILES = 64
MAX_BYTES = 4 << 30
ENCRYPTED = 1
PICKLES = [b"\x80" + bytes([protocol]) for protocol in range(2, 6)]
PICKLE_SUFFIXES = (".joblib", ".pickle", ".pkl")
UNTRUSTED = "Do not trust this file."
# <linux/fs.h>, <fcntl.h>
RENAME_EXCHANGE, AT_FDCWD = 2, -100


class BundleError(ValueError):
    """A bundle that cannot be loaded: damaged, unsafe, too new, or moved from what it was saved with."""


def refusal(
    path: str | os.PathLike, found: str, expected: str, way_out: str = "Get it again from where it was saved."
) -> BundleError:
    """Return the error that names the file, what is wrong with it, and what to do."""
    return BundleError(f"Cannot load {str(path)!r}: {found}, but expected {expected}. {way_out}")


@dataclass(frozen=True)
class Archive:
    """The files of a bundle: their sizes by name, and what is in them."""

    path: Path
    sizes: Mapping[str, int]

    def read(self, name: str) -> bytes:
        """Return a file's bytes: as many as its size promised."""
        with plainly(self.path):
            if self.path.is_dir():
                data = _read_regular(self.path / name, self.sizes[name])
            else:
                with zipfile.ZipFile(self.path) as file:
                    data = file.read(name)
        if len(data) != self.sizes[name]:
            raise refusal(self.path, f"{name!r} has {len(data)} bytes", f"{self.sizes[name]}")
        return data


def open_archive(path: str | os.PathLike) -> Archive:
    """List a bundle's files, or refuse them all."""
    path = Path(path)
    with plainly(path):
        mode = os.stat(path).st_mode
        if not stat.S_ISDIR(mode) and not stat.S_ISREG(mode):
            raise refusal(path, "it is a device or a pipe", "a bundle folder or a .hybrid file")
        sizes = _list_folder(path) if stat.S_ISDIR(mode) else _list_zip(path)
    for found, most, what in ((len(sizes), MAX_FILES, "files"), (sum(sizes.values()), MAX_BYTES, "bytes")):
        if found > most:
            raise refusal(path, f"it holds {found} {what}", f"at most {most}")
    return Archive(path, sizes)


@contextmanager
def plainly(path: Path):
    """Turn what a file system or a damaged zip raises into a BundleError."""
    try:
        yield
    except FileNotFoundError as exc:
        raise refusal(path, "there is no such file", "a bundle", "Look for it elsewhere.") from exc
    except (OSError, EOFError, RuntimeError, ValueError, zipfile.BadZipFile) as exc:
        if isinstance(exc, BundleError):
            raise
        raise refusal(path, f"it is damaged ({exc})", "a bundle folder or a .hybrid file") from exc


def _list_folder(path: Path) -> dict[str, int]:
    with os.scandir(path) as entries:
        return {_check_name(path, entry.name): _regular_size(path, entry) for entry in entries}


def _regular_size(path: Path, entry: os.DirEntry) -> int:
    if not entry.is_file(follow_symlinks=False):
        kind = "a link" if entry.is_symlink() else "no regular file"
        raise refusal(path, f"{entry.name!r} is {kind}", "regular files only")
    return entry.stat(follow_symlinks=False).st_size


def _read_regular(path: Path, size: int) -> bytes:
    """Read a file; a link or a pipe that took its place meanwhile is neither followed nor waited for."""
    flags = sum(getattr(os, name, 0) for name in ("O_RDONLY", "O_NOFOLLOW", "O_NONBLOCK", "O_BINARY"))
    with open(os.open(path, flags), "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(f"{path.name!r} is no regular file")
        parts = []
        while size >= 0 and (part := file.read(size + 1)):
            parts.append(part)
            size -= len(part)
    return b"".join(parts)


def _list_zip(path: Path) -> dict[str, int]:
    """List a zip whose members are stored as they are, so that none can be larger than the file."""
    sizes, room = {}, os.path.getsize(path)
    _refuse_pickle(path)
    with zipfile.ZipFile(path) as file:
        for info in file.infolist():
            name = _check_name(path, info.orig_filename)
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                raise refusal(path, f"{name!r} is a link or a device", "regular files only")
            if name in sizes:
                raise refusal(path, f"it holds {name!r} twice", "each name once")
            if info.compress_type != zipfile.ZIP_STORED or info.flag_bits & ENCRYPTED:
                raise refusal(path, f"{name!r} is compressed or encrypted", "members stored as they are")
            sizes[name] = info.file_size
            room -= info.file_size
            if room < 0 or info.file_size != info.compress_size:
                found = f"{name!r} promises {info.file_size} bytes"
                raise refusal(path, found, f"no more than the {os.path.getsize(path)} of the file")
    return sizes


def _refuse_pickle(path: Path):
    """Tell a pickle, compressed or not, from a damaged zip."""
    with open(path, "rb") as file:
        start = file.read(2)
    if start in PICKLES or (path.suffix in PICKLE_SUFFIXES and start != b"PK"):
        way_out = "Load it by joblib.load, if you trust it: a pickle runs code."
        raise refusal(
            path, "it is a pickle, as joblib.dump writes", "a bundle, as hybrid.save writes", way_out
        )


def _check_name(path: Path, name: str) -> str:
    if not NAME.fullmatch(name):
        raise refusal(path, f"it holds {name!r:.80}", "names such as 'model.skops'", UNTRUSTED)
    return name


def write(path: str | os.PathLike, parts: Mapping[str, bytes | Path]):
    """Write a zip (by suffix) or a folder; it appears at its place whole or not at all."""
    path = Path(path)
    if path.suffix == SUFFIX:
        write_zip(path, parts)
    else:
        write_folder(path, parts)


def write_zip(path: Path, parts: Mapping[str, bytes | Path]):
    with whole(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, content in parts.items():
            archive.writestr(zipfile.ZipInfo(name), as_bytes(content))


def write_folder(path: Path, parts: Mapping[str, bytes | Path]):
    temporary = beside(path)
    temporary.mkdir()
    try:
        for name, content in parts.items():
            with open(temporary / name, "xb") as file:
                file.write(as_bytes(content))
                flush(file)
        if path.exists():
            exchange(temporary, path)
        else:
            os.rename(temporary, path)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def exchange(temporary: Path, path: Path):
    """Swap two folders: in one step on Linux, elsewhere in two renames."""
    rename = getattr(ctypes.CDLL(None), "renameat2", None) if os.name == "posix" else None
    here, there = os.fsencode(temporary), os.fsencode(path)
    if rename is None or rename(AT_FDCWD, here, AT_FDCWD, there, RENAME_EXCHANGE):
        aside = temporary.with_name(temporary.name + "-old")
        os.rename(path, aside)
        os.rename(temporary, path)
        os.rename(aside, temporary)


def as_bytes(content: bytes | Path) -> bytes:
    return content.read_bytes() if isinstance(content, Path) else content
