"""Every request in and every answer out: strangers' names refused, safe headers added, both counted."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Collection
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from hybrid.server.metrics import Metrics

CONTENT = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; "
)
HEADERS = {
    "Content-Security-Policy": CONTENT + "base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}
STRANGER = "This server is for this machine only: open it as http://127.0.0.1 or http://localhost."


class Guard:
    """A layer around an application."""

    def __init__(self, app: ASGIApp, metrics: Metrics, paths: Collection[str], local: bool):
        self.app, self.metrics, self.paths, self.local = app, metrics, paths, local

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        start, path = time.perf_counter(), scope["path"] if scope["path"] in self.paths else "other"

        async def answer(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
                self.metrics.requests.labels(path, message["status"]).inc()
            await send(message)

        reason = refusal(Headers(scope=scope), self.local)
        app = JSONResponse({"error": reason}, 403) if reason else self.app
        await app(scope, receive, answer)
        self.metrics.seconds.labels(path).observe(time.perf_counter() - start)


def refusal(headers: Headers, local: bool) -> str | None:
    """Say why a browser is not answered: another site's page asks, or one whose name was bent to this machine."""
    if headers.get("sec-fetch-site") == "cross-site" and headers.get("sec-fetch-mode") != "navigate":
        return "Another site's page asks, which this server does not answer."
    if local and not is_local(headers.get("host", "")):
        return STRANGER
    return None


def is_local(host: str) -> bool:
    """Tell whether a Host header names this machine.

    Examples
    --------
    >>> is_local("localhost:8000"), is_local("[::1]:80"), is_local("evil.example:8000")
    (True, True, False)
    """
    try:
        name = urlsplit(f"//{host}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
