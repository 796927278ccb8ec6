"""A bundle in; the application that says what is in images out: a page for people, JSON for programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from fastapi import APIRouter, FastAPI, HTTPException, Request, Response
from starlette.exceptions import HTTPException as AnyHTTPException
from starlette.responses import JSONResponse

import hybrid
from hybrid.images.pixels import ImageError
from hybrid.server.guard import Guard
from hybrid.server.intake import FORM, Upload, bad, receive
from hybrid.server.limits import Full, Limits, Room
from hybrid.server.metrics import Metrics
from hybrid.server.queue import Queue
from hybrid.server.records import Answer, Health, Model, Problem
from hybrid.server.work import Work

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

router = APIRouter()


@dataclass(frozen=True)
class _Served:
    """What the handlers share."""

    model: Model
    limits: Limits
    queue: Queue[bytes, dict | ImageError]
    room: Room
    metrics: Metrics


def make_app(model: Model, work: Work, limits: Limits, local: bool = True) -> FastAPI:
    """Return the application that serves a model; its queue works from its start to its end.

    `local` refuses requests to any host that is not this machine.
    """
    metrics = Metrics(lambda: len(queue.waiting))
    queue = Queue(partial(observed, work, metrics), limits.queue, limits.images)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        with queue:
            yield

    app = FastAPI(
        title="hybrid serve",
        description=f"What is in an image, by the model {model.name}.",
        version=hybrid.__version__,
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    app.state.served = _Served(model, limits, queue, Room(limits), metrics)
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


FORM_SCHEMA = {
    "type": "object",
    "properties": {
        "file": BINARY | {"description": "An image: JPEG, PNG, WebP, AVIF, BMP, TIFF, GIF or PPM."},
        "files": {"type": "array", "items": BINARY, "description": "More of them."},
        "urls": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Addresses of images, where the server was started with --urls.",
        },
    },
}


@router.post(
    "/predict",
    response_model=Answer,
    response_model_exclude_unset=True,
    responses={status: {"model": Problem, "description": why} for status, why in PROBLEMS.items()},
    openapi_extra={"requestBody": {"required": True, "content": {FORM: {"schema": FORM_SCHEMA}}}},
)
async def predict(request: Request) -> dict:
    """Predict the class of each image of a form. Uploads are not kept."""
    served: _Served = request.app.state.served
    try:
        with served.room.share() as take:
            uploads = await receive(request, take, served.limits, served.model.urls)
            return {"predictions": await predictions(served, uploads)}
    except Full as exc:
        raise HTTPException(503, "Too much waits already. Try again.", RETRY) from exc


async def predictions(served: _Served, uploads: list[Upload]) -> list[dict]:
    """Wait for the records of images."""
    names, contents = zip(*uploads, strict=True)
    waiting = map(asyncio.wrap_future, served.queue.put(contents))
    seconds = served.limits.seconds
    try:
        async with asyncio.timeout(seconds):
            answers = await asyncio.gather(*waiting)
    except TimeoutError as exc:
        raise HTTPException(503, f"No answer within {seconds:g} seconds. Try again.", RETRY) from exc
    pairs = list(zip(names, answers, strict=True))
    failures = [(name, str(answer)) for name, answer in pairs if isinstance(answer, ImageError)]
    if failures:
        raise bad(failures)
    return [answer | {"image": name} for name, answer in pairs]


@router.get("/model", response_model_exclude_unset=True)
async def model(request: Request) -> Model:
    """Say which model is served, and what it takes at a time."""
    return request.app.state.served.model


@router.get("/health", responses={503: {"model": Problem, "description": DEAD}})
async def health(request: Request) -> Health:
    """Say whether the server answers."""
    if not request.app.state.served.queue.alive:
        raise HTTPException(503, DEAD)
    return Health(status="ok")


@router.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
async def metrics(request: Request) -> Response:
    """Count requests, seconds and images, for Prometheus."""
    text = request.app.state.served.metrics.text()
    return Response(text, media_type="text/plain; version=0.0.4; charset=utf-8")
