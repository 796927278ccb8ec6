"""A bundle, an address and limits in; a server that answers until it is told to stop."""

from __future__ import annotations

import os
import signal
import socket
from collections.abc import Callable

import uvicorn
from threadpoolctl import threadpool_limits

from hybrid.archive.manifest import Key
from hybrid.bundle.loading import Bundle, read
from hybrid.server.app import make_app
from hybrid.server.guard import is_local
from hybrid.server.limits import Limits
from hybrid.server.records import Model, Prediction
from hybrid.server.work import Work, blank, coverage, explainer, sendable, worker
from hybrid.spelling import spelt

# Beyond the time that an answer may take, so that what waits is answered before the end.
GRACE_SECONDS = 5


def serve(
    path: str | os.PathLike,
    host: str = "127.0.0.1",
    port: int = 8000,
    limits: Limits = Limits(),  # noqa: B008
    sets: float = 0.9,
    neighbours: int = 5,
    urls: bool = False,
    key: Key = None,
    note: Callable[[str], object] = print,
) -> None:
    """Serve a bundle until SIGTERM or SIGINT: then no request is taken any more, and those that wait are answered.

    Parameters
    ----------
    path : path
        A bundle.
    host : str, default="127.0.0.1"
        An address of this machine; "0.0.0.0" or "::" lets everyone in who reaches it.
    port : int, default=8000
        0 takes one that is free.
    limits : Limits
    sets : float, default=0.9
        How often the sets of classes shall hold the right one, for bundles that can say.
    neighbours : int, default=5
        How many of the most similar training images to name, for bundles that know them.
    urls : bool, default=False
        Fetch the URLs that a form holds.
    key : bytes or path of a file, optional
        Refuse a bundle that was not signed with this key.
    note : callable
        Called with the address, once it answers.
    """
    bundle = read(path, key)
    work = worker(bundle, sets, neighbours)
    check(work)
    explain = explainer(bundle)
    model = describe(bundle, sets, limits, urls, explain is not None)
    with listen(host, port) as listener:
        app = make_app(model, work, limits, is_local(f"[{host}]" if ":" in host else host), explain)
        config = uvicorn.Config(
            app,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=int(limits.seconds) + GRACE_SECONDS,
        )
        place = f"[{host}]" if ":" in host else host
        note(f"serving {model.name} at http://{place}:{listener.getsockname()[1]}")
        for one in (signal.SIGINT, signal.SIGTERM):
            # uvicorn raises it once more when it is done, which would end the process as if it had failed.
            signal.signal(one, lambda *_: None)
        # On a few rows several threads of BLAS wait for each other longer than they compute.
        with threadpool_limits(1, "blas"):
            uvicorn.Server(config).run(sockets=[listener])


def check(work: Work) -> None:
    """Predict one image: a model of another kind is refused before anyone asks, and the first answer is as quick."""
    (record,) = work([blank()])
    Prediction.model_validate(record)


def describe(bundle: Bundle, sets: float, limits: Limits, urls: bool, explains: bool) -> Model:
    """Say what clients may know of a model."""
    accuracy = bundle.manifest["scores"].get("accuracy")
    found = {
        "name": spelt(bundle.path.name),
        "classes": sendable(bundle.manifest["classes"] or []),
        "accuracy": accuracy and {key: accuracy[key] for key in ("mean", "low", "high")},
        "coverage": coverage(bundle, sets),
        "explains": explains,
        "megabytes": limits.megabytes,
        "images": limits.images,
        "urls": urls,
    }
    return Model(**{name: value for name, value in found.items() if value is not None})


def listen(host: str, port: int) -> socket.socket:
    """Open the port, so that one in use is told before anything else."""
    try:
        listener = socket.create_server(
            (host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET
        )
    except OSError as exc:
        raise OSError(
            f"Got --host {host} --port {port}, but cannot listen there: {exc.strerror or exc}."
        ) from exc
    # Else an answer's body waits for the client to acknowledge its headers: 40 ms. asyncio knows by itself only
    # sockets that name their protocol.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener
