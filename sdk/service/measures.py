"""What Prometheus reads: requests, times, the queue, refusals."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)


class Metrics:
    """The measures of one service, in a registry of its own."""

    media_type = CONTENT_TYPE_LATEST

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        ProcessCollector(registry=self._registry)
        self.requests = self._counter("requests", "Requests answered.", "path", "status")
        self.rejected = self._counter("rejected", "Requests refused, by kind.", "kind")
        self.frames = self._counter("stream_frames", "Frames of websockets answered.")
        self.seconds = self._histogram("request_seconds", "From request to answer.", "path")
        self.wait = self._histogram("wait_seconds", "In the queue.")
        self.work = self._histogram("work_seconds", "Decoding, matting and encoding.")

    def show(self, name: str, help_text: str, value: Callable[[], float]) -> None:
        """Add a measure that is asked for when it is read."""
        Gauge(f"matter_{name}", help_text, registry=self._registry).set_function(value)

    def took(self, waited: float, worked: float) -> None:
        """Note a piece of work: seconds in the queue, seconds of work."""
        self.wait.observe(waited)
        self.work.observe(worked)

    def text(self) -> bytes:
        """Everything, in Prometheus's text format."""
        return generate_latest(self._registry)

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(f"matter_{name}", help_text, labels, registry=self._registry)

    def _histogram(self, name: str, help_text: str, *labels: str) -> Histogram:
        return Histogram(
            f"matter_{name}", help_text, labels, buckets=_SECONDS, registry=self._registry
        )
