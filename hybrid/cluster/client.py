"""A client, a scheduler's address or a number of workers in; a Dask client out, for as long as it is used."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import TYPE_CHECKING

import joblib

from hybrid.cluster.local import local_cluster

if TYPE_CHECKING:
    from distributed import Client, Security

# What the certificates of a scheduler at tls:// are read from, where Dask's own config names none.
CERTIFICATES = {
    "tls_ca_file": "HYBRID_TLS_CA",
    "tls_client_cert": "HYBRID_TLS_CERT",
    "tls_client_key": "HYBRID_TLS_KEY",
}


@contextmanager
def connected(
    client: Client | None = None, workers: int | None = None, scheduler: str | None = None
) -> Iterator[Client]:
    """Give a client of the cluster that is named, or of one that lives as long as it is used.

    Parameters
    ----------
    client : distributed.Client, default=None
        One that is there already; it stays open.
    workers : int, default=None
        So many processes on this machine, which share its cores; a process a core by default. They speak TLS on
        the loopback with certificates of their own, so that no other user of the machine can give them work.
    scheduler : str, default=None
        The address of a scheduler, tcp://... or tls://... Who reaches one without certificates can run any code on its
        workers. Certificates are named by Dask's config (distributed.comm.tls) or by HYBRID_TLS_CA,
        HYBRID_TLS_CERT and HYBRID_TLS_KEY.
    """
    need("distributed")
    from distributed import Client

    if sum(one is not None for one in (client, workers, scheduler)) > 1:
        raise ValueError("Got more than one of client, workers and scheduler, but expected one at most.")
    if client is not None:
        yield client
    elif scheduler is not None:
        with _remote(scheduler) as found:
            yield found
    else:
        if workers is not None and workers < 1:
            raise ValueError(f"Got workers={workers}, but expected a positive integer.")
        need("cryptography")
        with local_cluster(workers or joblib.cpu_count()) as cluster, Client(cluster) as found:
            yield found


def need(*packages: str) -> None:
    """Refuse to work without a package of the extra."""
    for package in packages:
        try:
            import_module(package)
        except ImportError as exc:
            raise ImportError(
                f"Work on a cluster needs {package}: pip install 'hybrid-features[cluster]'"
            ) from exc


@contextmanager
def _remote(address: str) -> Iterator[Client]:
    from distributed import Client

    try:
        client = Client(address, security=_security() if address.startswith("tls://") else None)
    except (OSError, TimeoutError) as exc:
        raise ValueError(
            f"Cannot reach the scheduler at {address!r}: {exc}. Is it running, is its address complete "
            "(tls://host:8786), and are these the certificates it knows?"
        ) from exc
    with client:
        yield client


def _security() -> Security:
    """Read which certificates to show and to trust."""
    from distributed import Security

    named = {key: os.environ[name] for key, name in CERTIFICATES.items() if os.environ.get(name)}
    security = Security(require_encryption=True, **named)
    absent = [name for key, name in CERTIFICATES.items() if not getattr(security, key)]
    if absent:
        raise ValueError(
            f"A scheduler at tls:// asks for certificates, but {' and '.join(absent)} name none. Set them, or "
            "distributed.comm.tls in Dask's config, to the files of the authority, the certificate and its key."
        )
    return security
