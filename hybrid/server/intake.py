"""A request with a form in, the images that it brings, by name, out; what is not as it should be is a 4xx."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from fastapi import HTTPException, Request
from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect

from hybrid.images.pixels import ImageError
from hybrid.images.source import read
from hybrid.server.limits import MEGABYTE, Limits, TooLarge
from hybrid.spelling import spelt

FILES, URLS = ("file", "files"), ("url", "urls")
FORM = "multipart/form-data"
Upload = tuple[str, bytes]
Take = Callable[[int], None]


class _InMemory(MultiPartParser):
    """Starlette's parser, which writes no part of an upload to the disk."""

    spool_max_size = 1 << 40


async def receive(request: Request, take: Take, limits: Limits, urls: bool) -> list[Upload]:
    """Return the images of a request in order; `take` is told of all bytes that are kept of it."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM:
        raise HTTPException(415, f"Expected {FORM}, with an image in the field 'file'.")
    try:
        async with asyncio.timeout(limits.seconds):
            form = await parse(request, take, limits)
            found = [await upload(*field, take, urls) for field in form.multi_items()]
    except TimeoutError as exc:
        raise HTTPException(408, f"The request did not come in within {limits.seconds:g} seconds.") from exc
    except TooLarge as exc:
        raise HTTPException(413, f"The request is over the limit of {limits.megabytes} MB.") from exc
    if not 1 <= len(found) <= limits.images:
        expected = "one" if limits.images == 1 else f"1 to {limits.images}"
        raise HTTPException(422, f"Got {len(found)} images, but expected {expected}.")
    return found


async def parse(request: Request, take: Take, limits: Limits) -> FormData:
    """Return the fields of a form."""
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > limits.megabytes * MEGABYTE:
        raise TooLarge
    most = {"max_files": limits.images, "max_fields": limits.images}
    try:
        return await _InMemory(request.headers, counted(request, take), **most).parse()
    except ClientDisconnect as exc:
        raise HTTPException(400, "The client went away.") from exc
    except (MultiPartException, UnicodeError) as exc:
        reason = getattr(exc, "message", str(exc)).rstrip(".")
        raise HTTPException(400, f"This is no form that can be read: {reason}.") from exc


async def counted(request: Request, take: Take) -> AsyncIterator[bytes]:
    """Yield a request's body, counting it."""
    async for chunk in request.stream():
        take(len(chunk))
        yield chunk


async def upload(field: str, value: UploadFile | str, take: Take, urls: bool) -> Upload:
    """Return a field's image and its name."""
    if field in FILES and isinstance(value, UploadFile):
        return spelt(value.filename or ""), await value.read()
    if field in URLS and isinstance(value, str):
        if not urls:
            raise HTTPException(422, "This server fetches no URLs; `hybrid serve --urls` does.")
        return spelt(value), await fetched(value, take)
    kind = "a file" if isinstance(value, UploadFile) else "text"
    raise HTTPException(
        422, f"Got {kind} in the field {field!r:.80}, but expected files in 'file' or 'files'."
    )


async def fetched(url: str, take: Take) -> bytes:
    """Return what a web address holds."""
    if not url.lower().startswith(("http://", "https://")):
        raise bad([(url, "no http or https URL")])
    try:
        content = await asyncio.to_thread(read, url)
    except ImageError as exc:
        raise bad([(url, str(exc))]) from exc
    take(len(content))
    return content


def bad(failures: list[tuple[str, str]]) -> HTTPException:
    """Return the answer that names every image that cannot be used, and why."""
    lines = [f"Cannot use {name!r}: {reason}." for name, reason in failures]
    files = [{"file": name, "reason": reason} for name, reason in failures]
    return HTTPException(422, {"error": "\n".join(lines), "files": files})
