"""What the server counts, in Prometheus' format, in a registry of its own. No label holds anything that a user wrote."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from lmpipe.serving.engine import Engine

SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)


class Metrics:
    """All series of one server."""

    def __init__(self, engine: Engine) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter("lmpipe_requests", "Requests by route and status", ("route", "status"), registry=self.registry)
        self.rejected = Counter("lmpipe_requests_rejected", "Refused because the queue was full", registry=self.registry)
        self.aborted = Counter(
            "lmpipe_requests_aborted", "Given up: the client left, or it took too long", registry=self.registry
        )
        self.prompt_tokens = Counter("lmpipe_prompt_tokens", "Tokens of prompts", registry=self.registry)
        self.generation_tokens = Counter("lmpipe_generation_tokens", "Tokens drawn and delivered", registry=self.registry)
        self.first_token = Histogram(
            "lmpipe_time_to_first_token_seconds", "From the request to its first token", buckets=SECONDS, registry=self.registry
        )
        self.duration = Histogram(
            "lmpipe_request_duration_seconds", "From the request to its last token", buckets=SECONDS, registry=self.registry
        )
        running = Gauge("lmpipe_requests_running", "Answers being drawn", registry=self.registry)
        running.set_function(lambda: engine.running)
        waiting = Gauge("lmpipe_requests_waiting", "Answers that have not begun", registry=self.registry)
        waiting.set_function(lambda: engine.waiting)

    def text(self) -> bytes:
        """The exposition."""
        return generate_latest(self.registry)
