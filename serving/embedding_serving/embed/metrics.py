"""Every metric of the role, under one registry. Gauges are read when somebody scrapes, not on the way of a request."""

import time
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from .gpu_metrics import GpuCollector

if TYPE_CHECKING:
    from .encoder import Encoder

LATENCY_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
BATCH_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
HIT_RATE_WINDOW = 10_000


class Metrics:
    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._latency = Histogram(
            "embedding_latency_seconds", "Time from the request's body to its answer", ["route"],
            buckets=LATENCY_SECONDS, registry=registry,
        )  # fmt: skip
        self._requests = Counter("embedding_requests_total", "Requests answered", ["route", "status"], registry=registry)
        self.in_flight = Gauge("embedding_in_flight_requests", "Requests that are being answered", registry=registry)
        self._rejected = Counter("embedding_rejected_total", "Requests refused, by problem code", ["reason"], registry=registry)
        self._texts = Counter("embedding_texts_total", "Texts answered, cached ones included", registry=registry)
        self._tokens = Counter("embedding_tokens_total", "Tokens answered, cached ones included", registry=registry)
        self._batch_size = Histogram("embedding_batch_size", "Texts in a batch", buckets=BATCH_TEXTS, registry=registry)
        self._batch_seconds = Histogram(
            "embedding_batch_seconds", "Time of a batch in the engine", buckets=LATENCY_SECONDS, registry=registry
        )
        self._batch_tokens = Counter("embedding_batch_tokens_total", "Tokens encoded", registry=registry)
        self._padded_tokens = Counter(
            "embedding_batch_padded_tokens_total", "Tokens encoded, padding included", registry=registry
        )
        self._padded_ratio = Gauge(
            "embedding_batch_padded_ratio", "Padded tokens by tokens of the last batches; 1 is no waste", registry=registry
        )
        self._lookups = Counter("embedding_cache_lookups_total", "Texts looked up in the cache", ["result"], registry=registry)
        hit_rate = Gauge("embedding_cache_hit_rate", "Share of the last texts that were cached", registry=registry)
        hit_rate.set_function(self._hit_rate)
        self._cache_available = Gauge("embedding_shared_cache_up", "1 while the shared cache answers", registry=registry)
        self._recent_hits = self._recent_lookups = 0
        self._recent_padding = 1.0
        self._counters = {result: self._lookups.labels(result) for result in ("hit", "miss")}

    def request(self, route: str, status: int, seconds: float) -> None:
        self._requests.labels(route, status).inc()
        self._latency.labels(route).observe(seconds)

    def rejected(self, reason: str) -> None:
        self._rejected.labels(reason).inc()

    def answered(self, texts: int, tokens: int) -> None:
        self._texts.inc(texts)
        self._tokens.inc(tokens)

    def batch(self, *, texts: int, tokens: int, padded_tokens: int, seconds: float) -> None:
        self._batch_size.observe(texts)
        self._batch_seconds.observe(seconds)
        self._batch_tokens.inc(tokens)
        self._padded_tokens.inc(padded_tokens)
        self._recent_padding += 0.1 * (padded_tokens / tokens - self._recent_padding)
        self._padded_ratio.set(self._recent_padding)

    def cache_lookups(self, *, hits: int, misses: int) -> None:
        self._counters["hit"].inc(hits)
        self._counters["miss"].inc(misses)
        if self._recent_lookups >= HIT_RATE_WINDOW:
            self._recent_lookups //= 2
            self._recent_hits //= 2
        self._recent_lookups += hits + misses
        self._recent_hits += hits

    def shared_cache(self, up: bool) -> None:
        self._cache_available.set(1 if up else 0)

    def watch_queue(self, encoder: "Encoder") -> None:
        scheduler = encoder.scheduler
        self._gauge("embedding_queue_size", "Texts that wait for the encoder").set_function(lambda: scheduler.queued_texts)
        self._gauge("embedding_queued_tokens", "Tokens that wait for the encoder").set_function(lambda: scheduler.queued_tokens)
        self._gauge("embedding_queue_oldest_age_seconds", "Age of the oldest waiting text").set_function(
            lambda: scheduler.oldest_age_seconds(time.monotonic())
        )

    def watch_gpus(self, torch: Any) -> None:
        """torch: the module, where it runs on a GPU."""
        self.registry.register(GpuCollector(torch))

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)

    def _gauge(self, name: str, documentation: str) -> Gauge:
        return Gauge(name, documentation, registry=self.registry)

    def _hit_rate(self) -> float:
        return self._recent_hits / self._recent_lookups if self._recent_lookups else 0.0
