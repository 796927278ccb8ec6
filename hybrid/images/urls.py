"""A URL in; its bytes out, of bounded size and in bounded time, from public addresses unless others are allowed."""

from __future__ import annotations

import ipaddress
import os
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from functools import partial
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from threading import Timer
from types import ModuleType
from typing import BinaryIO
from urllib.parse import quote, urljoin, urlsplit

from hybrid.images.pixels import ImageError

STORES = ("s3", "gs", "az")
MAX_BYTES, MAX_SECONDS, MAX_REDIRECTS = 200 << 20, 60, 5
PIECE = 1 << 20
REDIRECTS = (301, 302, 303, 307, 308)
# Some servers answer nobody without a name.
HEADERS = {"User-Agent": "hybrid-features", "Connection": "close"}
PRINTABLE = "".join(map(chr, range(33, 127)))
# Set to 1 to allow addresses inside a network, such as 127.0.0.1.
ALLOW_PRIVATE = "HYBRID_PRIVATE_URLS"


def allowed(address: str) -> bool:
    """Tell whether an IP address may be asked.

    Examples
    --------
    >>> allowed("1.1.1.1")
    True
    """
    ip = ipaddress.ip_address(address.partition("%")[0])
    return (getattr(ip, "ipv4_mapped", None) or ip).is_global or os.environ.get(ALLOW_PRIVATE, "0") not in (
        "",
        "0",
    )


class _Plain(HTTPConnection):
    """A connection that asks nothing of a private address: seen once connected, no name can change its mind."""

    def connect(self):
        super().connect()
        address = self.sock.getpeername()[0]
        if not allowed(address):
            self.close()
            raise ImageError(f"{self.host} is the private address {address}; {ALLOW_PRIVATE}=1 allows it")


class _Secure(HTTPSConnection, _Plain):
    """The same with TLS, which starts after the look at the address."""


CONNECTIONS = {"http": _Plain, "https": _Secure}


def fetch(url: str) -> bytes:
    """Read a URL."""
    scheme = urlsplit(url).scheme.lower()
    if scheme in CONNECTIONS:
        return ask(url)
    fsspec = _opener(url)
    with fsspec.open(url, "rb") as file:
        return whole(file, time.monotonic() + MAX_SECONDS)


def entries(url: str) -> Iterator[tuple[str, bool]]:
    """Yield what lies right below a prefix of an object store: its URL, and whether it is a prefix itself."""
    files, place = _opener(url).core.url_to_fs(url)
    for entry in files.ls(place, detail=True):
        if entry["name"].rstrip("/") != place.rstrip("/"):
            yield f"{url.partition('://')[0]}://{entry['name'].rstrip('/')}", entry["type"] == "directory"


def _opener(url: str) -> ModuleType:
    """Return fsspec, if it is to open this URL."""
    scheme = urlsplit(url).scheme.lower()
    if scheme not in STORES or "::" in url:
        # A chain such as simplecache::local:// would read any file of this machine.
        expected = ", ".join((*CONNECTIONS, *STORES))
        raise ImageError(
            f"a URL of {url.partition('://')[0]!r}, but expected one of {expected}, and no chain"
        )
    try:
        import fsspec
    except ImportError as exc:
        raise ImportError(f'Reading {url!r} needs fsspec: pip install "hybrid-features[url]"') from exc
    return fsspec


def ask(url: str) -> bytes:
    """Read an http or https URL, and what it redirects to."""
    end = time.monotonic() + MAX_SECONDS
    for _ in range(MAX_REDIRECTS + 1):
        parts = urlsplit(url)
        if parts.scheme not in CONNECTIONS:
            raise ImageError(f"redirected to {url!r:.200}, but expected http or https")
        connection = CONNECTIONS[parts.scheme](parts.hostname or "", parts.port, timeout=left(end))
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        try:
            connection.connect()
            # A server may send a byte now and then for ever, which no timeout between two bytes would end.
            hang_up = partial(socket.socket.shutdown, connection.sock, socket.SHUT_RDWR)
            with closing(connection), _alarm(left(end), hang_up):
                connection.request("GET", quote(target, safe=PRINTABLE), headers=HEADERS)
                answer = answered(connection.getresponse(), end)
        except (OSError, HTTPException) as exc:
            left(end)
            raise exc
        if isinstance(answer, bytes):
            return answer
        url = urljoin(url, answer)
    raise ImageError(f"more than {MAX_REDIRECTS} redirects")


def answered(response: HTTPResponse, end: float) -> bytes | str:
    """Return what a server answers, or where it redirects to."""
    if response.status in REDIRECTS and response.getheader("Location"):
        return response.getheader("Location")
    if response.status != 200:
        raise ImageError(f"HTTP {response.status} {response.reason}".rstrip())
    _check_bytes(response.length or 0)
    content = whole(response, end)
    if response.length:
        raise ImageError(f"truncated answer, {response.length} bytes short")
    return content


def whole(file: BinaryIO, end: float) -> bytes:
    """Read to the end, within the limits."""
    content = bytearray()
    while piece := file.read(PIECE):
        content += piece
        _check_bytes(len(content))
        left(end)
    left(end)
    return bytes(content)


def _check_bytes(size: int):
    if size > MAX_BYTES:
        raise ImageError(f"{size} bytes and maybe more are over the limit of {MAX_BYTES} for a URL")


def left(end: float) -> float:
    """Return how many seconds are left."""
    seconds = end - time.monotonic()
    if seconds <= 0:
        raise ImageError(f"not fetched within the limit of {MAX_SECONDS} seconds")
    return seconds


@contextmanager
def _alarm(seconds: float, action: Callable[[], object]) -> Iterator[None]:
    """Do something after a time, unless what is inside ends before."""
    timer = Timer(seconds, action)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
