"""A bundle in; the application that says what is in images out: a page for people, JSON for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, FastAPI, HTTPException, Query, Request, Response
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import JSONResponse

import hybrid
from hybrid.images.pixels import ImageError
from hybrid.server.guard import Guard
from hybrid.server.intake import FORM, Take, bad, receive
from hybrid.server.limits import Full, Limits, Room
from hybrid.server.metrics import Metrics
from hybrid.server.queue import Queue
from hybrid.server.records import Answer, Health, Model, Problem
from hybrid.server.work import Explain, Work

# Read once: no other file can be asked for.
PAGES = {
    "/": ("page.html", "text/html"),
    "/page.css": ("page.css", "text/css"),
    "/page.js": ("page.js", "text/javascript"),
    "/docs": ("docs.html", "text/html"),
    "/docs.js": ("docs.js", "text/javascript"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
RETRY = {"Retry-After": "1"}
BINARY = {"type": "string", "format": "binary"}
PROBLEMS = {
    400: "The form cannot be read.",
    403: "The request comes from another site's page.",
    408: "The request did not come in in time.",
    413: "The request is too large.",
    415: "The body is no form.",
    422: "Images that cannot be used, each named with the reason; or too many, or none.",
    503: "The queue is full, or there was no answer in time: try again after Retry-After seconds.",
}
DEAD = "The threads that predict have ended."
UNEXPLAINED = "This model has no heat maps: its features are no means over the places of a picture."
# Heat maps that wait, of all clients. They are drawn one at a time, so that predictions go on beside them.
MOST_EXPLAINED = 16

router = APIRouter()


@dataclass(frozen=True)
class _Served:
    """What the handlers share."""

    model: Model
    limits: Limits
    queue: Queue[bytes, dict | ImageError]
    heats: Queue[tuple[bytes, int | None], bytes | ImageError] | None
    room: Room
    metrics: Metrics


def make_app(
    model: Model, work: Work, limits: Limits, local: bool = True, explain: Explain | None = None
) -> FastAPI:
    """Return the application that serves a model; its queues work from its start to its end.

    `local` refuses requests to any host that is not this machine.
    """
    metrics = Metrics(lambda: len(queue.waiting))
    queue = Queue(partial(observed, work, metrics), limits.queue, limits.images)
    heats = explain and Queue(explain, MOST_EXPLAINED, most=1, workers=1)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with ExitStack() as queues:
            for one in filter(None, (queue, heats)):
                queues.enter_context(one)
            yield

    app = FastAPI(
        title="hybrid serve",
        description=f"What is in an image, by the model {model.name}.",
        version=hybrid.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.served = _Served(model, limits, queue, heats, Room(limits), metrics)
    app.include_router(router)
    for path, (name, kind) in PAGES.items():
        content = (Path(__file__).parent / name).read_bytes()
        page = partial(Response, content, media_type=kind)
        app.add_api_route(path, lambda page=page: page(), include_in_schema=False)
    app.add_exception_handler(AnyHTTPException, problem)
    app.add_exception_handler(Exception, failure)
    paths = {"/openapi.json", *PAGES, *(route.path for route in router.routes)}
    app.add_middleware(Guard, metrics=metrics, paths=paths, local=local)
    return app


def observed(work: Work, metrics: Metrics, images: Sequence[bytes]) -> list[dict | ImageError]:
    """Do the work of a batch, and count it."""
    answers = work(images)
    metrics.batch.observe(len(images))
    metrics.bad.inc(sum(isinstance(one, ImageError) for one in answers))
    return answers


def problem(request: Request, exc: AnyHTTPException) -> JSONResponse:
    """Say as JSON why there is no answer."""
    content = exc.detail if isinstance(exc.detail, dict) else {"error": exc.detail}
    return JSONResponse(content, exc.status_code, exc.headers)


def failure(request: Request, exc: Exception) -> JSONResponse:
    """Say no more than that the fault is here; the log says more."""
    return JSONResponse({"error": "This server failed; its log says why."}, 500)


FILE = BINARY | {"description": "An image: JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF or PPM."}
ONE_SCHEMA = {"type": "object", "properties": {"file": FILE}, "required": ["file"]}
FORM_SCHEMA = {
    "type": "object",
    "properties": {
        "file": FILE,
        "files": {"type": "array", "items": BINARY, "description": "More of them."},
        "urls": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Addresses of images, where the server was started with --urls.",
        },
    },
}

RESPONSES = {status: {"model": Problem, "description": why} for status, why in PROBLEMS.items()}


@router.post(
    "/predict",
    response_model=Answer,
    response_model_exclude_unset=True,
    responses=RESPONSES,
    openapi_extra={"requestBody": {"required": True, "content": {FORM: {"schema": FORM_SCHEMA}}}},
)
async def predict(request: Request) -> dict:
    """Predict the class of each image of a form. Uploads are not kept."""
    served: _Served = request.app.state.served
    with room(served) as take:
        names, contents = await received(request, take, served.limits, served.model.urls)
        answers = await answered(served.queue, names, contents, served.limits.seconds)
    return {"predictions": [answer | {"image": name} for name, answer in zip(names, answers, strict=True)]}


@router.post(
    "/explain",
    response_class=Response,
    responses=RESPONSES
    | {
        200: {"content": {"image/jpeg": {"schema": BINARY}}, "description": "The heat map."},
        404: {"model": Problem, "description": UNEXPLAINED},
    },
    openapi_extra={"requestBody": {"required": True, "content": {FORM: {"schema": ONE_SCHEMA}}}},
)
async def explain(
    request: Request,
    label: Annotated[
        str | None, Query(description="The class to explain; the predicted one if left out.")
    ] = None,
) -> Response:
    """Draw which places of an image speak for its class (orange) and which against it (blue)."""
    served: _Served = request.app.state.served
    if served.heats is None:
        raise HTTPException(404, UNEXPLAINED)
    classes = [str(one) for one in served.model.classes]
    if label is not None and label not in classes:
        raise HTTPException(422, f"Got label={label!r:.80}, but expected one of the classes in /model.")
    number = None if label is None else classes.index(label)
    with room(served) as take:
        one = replace(served.limits, images=1)
        names, contents = await received(request, take, one, served.model.urls)
        (heat,) = await answered(served.heats, names, [(contents[0], number)], one.seconds)
    return Response(heat, media_type="image/jpeg")


@contextmanager
def room(served: _Served) -> Iterator[Take]:
    """Yield what is told of all bytes that are kept of a request; without room for it, or a place, it is told so."""
    try:
        with served.room.share() as take:
            yield take
    except Full as exc:
        raise HTTPException(503, "Too much waits already. Try again.", RETRY) from exc


async def received(request: Request, take: Take, limits: Limits, urls: bool) -> tuple[Sequence, Sequence]:
    """Return names and contents of a request's images."""
    return tuple(zip(*await receive(request, take, limits, urls), strict=True))


async def answered(queue: Queue, names: Sequence[str], items: Sequence, seconds: float) -> list[Any]:
    """Wait for the answers to images; every bad one is named."""
    waiting = map(asyncio.wrap_future, queue.put(items))
    try:
        async with asyncio.timeout(seconds):
            answers = await asyncio.gather(*waiting)
    except TimeoutError as exc:
        raise HTTPException(503, f"No answer within {seconds:g} seconds. Try again.", RETRY) from exc
    pairs = zip(names, answers, strict=True)
    if failures := [(name, str(answer)) for name, answer in pairs if isinstance(answer, ImageError)]:
        raise bad(failures)
    return answers


@router.get("/model", response_model_exclude_unset=True)
async def model(request: Request) -> Model:
    """Say which model is served, and what it takes at a time."""
    return request.app.state.served.model


@router.get("/health", responses={503: {"model": Problem, "description": DEAD}})
async def health(request: Request) -> Health:
    """Say whether the server answers."""
    served: _Served = request.app.state.served
    if not all(queue.alive for queue in (served.queue, served.heats) if queue):
        raise HTTPException(503, DEAD)
    return Health(status="ok")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Count requests, seconds and images, for Prometheus."""
    text = request.app.state.served.metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
