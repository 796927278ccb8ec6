"""What happens in a server, counted; the text that Prometheus reads out."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCHES = (1, 2, 4, 8, 16, 32)


class Metrics:
    """The counts of one server."""

    def __init__(self, waiting: Callable[[], int]):
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        PlatformCollector(registry=self.registry)
        self.requests = Counter(
            "hybrid_requests", "Requests, by path and status.", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "hybrid_request_seconds",
            "From a request's head to the end of its answer.",
            ["path"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self.batch = Histogram(
            "hybrid_batch_images",
            "Images that went through the network together.",
            buckets=BATCHES,
            registry=self.registry,
        )
        self.bad = Counter("hybrid_bad_images", "Images that could not be used.", registry=self.registry)
        Gauge("hybrid_waiting_images", "Images in the queue.", registry=self.registry).set_function(waiting)

    def text(self) -> bytes:
        return generate_latest(self.registry)
