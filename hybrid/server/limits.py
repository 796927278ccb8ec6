"""What a server takes at a time: bytes, images and seconds; whoever asks for more is told so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

MEGABYTE = 1 << 20
# Bodies that are held at a time, as a multiple of the largest that one request may have.
REQUESTS_HELD = 16


class TooLarge(Exception):
    """A request is larger than any may be."""


class Full(Exception):
    """There is no room now, and there will be soon."""


@dataclass(frozen=True)
class Limits:
    """The limits of one server; `hybrid.images.limits` has those of a picture."""

    megabytes: int = 32  # of a request
    images: int = 32  # of a request, and of a run of the network
    queue: int = 128  # images that wait
    seconds: float = 30.0  # for a request to come in, and again for its answer

    def __post_init__(self) -> None:
        for name, least in {"megabytes": 1, "images": 1, "queue": 1, "seconds": 0.1}.items():
            value = getattr(self, name)
            if not value >= least:
                raise ValueError(f"Got {name}={value!r}, but expected {least} or more.")


class Room:
    """Memory for the bodies of requests, counted as they come in."""

    def __init__(self, limits: Limits):
        self.one = limits.megabytes * MEGABYTE
        self.all, self.used = self.one * REQUESTS_HELD, 0

    @contextmanager
    def share(self) -> Iterator[Callable[[int], None]]:
        """Yield a function that takes bytes for one request; in the end they are given back."""
        taken = 0

        def take(size: int) -> None:
            nonlocal taken
            if taken + size > self.one:
                raise TooLarge
            if self.used + size > self.all:
                raise Full
            taken, self.used = taken + size, self.used + size

        try:
            yield take
        finally:
            self.used -= taken
