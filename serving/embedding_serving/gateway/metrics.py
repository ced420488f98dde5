"""Every metric of the role, under one registry."""

from collections.abc import Callable, Iterable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from .recent_latency import RecentLatency

LATENCY_SECONDS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class Metrics:
    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self.search_latency = self._histogram("search_latency_seconds", "Time from a search's arrival to its answer")
        self.recent_latency = RecentLatency()
        self._latency = self._histogram("gateway_latency_seconds", "Time from a request's arrival to its answer", ["route"])
        self._requests = Counter("gateway_requests_total", "Requests answered", ["route", "status"], registry=registry)
        self.in_flight = 0
        in_flight = Gauge("gateway_in_flight_requests", "Requests that are being answered", registry=registry)
        in_flight.set_function(lambda: self.in_flight)
        self._rejected = Counter("gateway_rejected_total", "Requests refused, by problem code", ["reason"], registry=registry)
        self._shard_latency = self._histogram("gateway_shard_latency_seconds", "Time of a call to a shard", ["shard", "op"])
        self._shard_errors = Counter(
            "gateway_shard_errors_total", "Calls to a shard that failed, by code", ["shard", "code"], registry=registry
        )
        self._encoder_latency = self._histogram("gateway_encoder_latency_seconds", "Time of a call to the encoder", ["what"])
        self._cache = Counter("gateway_cache_lookups_total", "Searches looked up in the cache", ["result"], registry=registry)
        self.held_writes = Gauge("gateway_held_writes", "Writes that wait for a fence to end", registry=registry)
        self.write_hold = self._histogram("gateway_write_hold_seconds", "Time that a held write waited until it was done")
        self.fenced_writes = Counter("gateway_fenced_writes_total", "Writes that have met a fence", registry=registry)
        self.documents = Counter("gateway_documents_total", "Documents written, by result", ["result"], registry=registry)
        self.partial = Counter("gateway_partial_answers_total", "Searches answered without a shard", registry=registry)
        self.fallback = Counter("gateway_fallback_answers_total", "Searches answered by the fallback", registry=registry)
        self._rerank = Counter("gateway_rerank_total", "Searches that asked for re-ranking", ["result"], registry=registry)
        self._shared_cache = Gauge("gateway_shared_cache_up", "1 while the shared cache answers", registry=registry)
        self._breakers = Gauge(
            "gateway_breaker_open", "1 while a pod of a shard is left alone", ["generation", "shard", "pod"], registry=registry
        )
        self._route = Gauge("gateway_route", "Of the route in use", ["index", "what"], registry=registry)
        self._request_children = lru_cache(512)(lambda route, status: self._requests.labels(route, status))
        self._latency_children = lru_cache(64)(lambda route: self._latency.labels(route))
        self._shard_children = lru_cache(4096)(lambda shard, op: self._shard_latency.labels(shard, op))
        self._before_scrape: list[Callable[[], None]] = []

    def request(self, route: str, status: int, seconds: float) -> None:
        self._request_children(route, status).inc()
        self._latency_children(route).observe(seconds)

    def rejected(self, reason: str) -> None:
        self._rejected.labels(reason).inc()

    def shard_call(self, shard: int, op: str, seconds: float) -> None:
        self._shard_children(shard, op).observe(seconds)

    def shard_error(self, shard: int, code: str) -> None:
        self._shard_errors.labels(shard, code).inc()

    def encoder_call(self, what: str, seconds: float) -> None:
        self._encoder_latency.labels(what).observe(seconds)

    def cache_lookup(self, *, hit: bool) -> None:
        self._cache.labels("hit" if hit else "miss").inc()

    def reranked(self, *, done: bool) -> None:
        self._rerank.labels("done" if done else "failed").inc()

    def shared_cache(self, up: bool) -> None:
        self._shared_cache.set(1 if up else 0)

    def breakers(self, states: Iterable[tuple[int, int, str, bool]]) -> None:
        """states: (generation, shard, pod, open), all there are."""
        self._breakers.clear()
        for generation, shard, pod, open_ in states:
            self._breakers.labels(generation, shard, pod).set(1 if open_ else 0)

    def route(self, index: str, *, generation: int, epoch: int, seq: int) -> None:
        for what, value in (("generation", generation), ("epoch", epoch), ("seq", seq)):
            self._route.labels(index, what).set(value)

    def before_scrape(self, refresh: Callable[[], None]) -> None:
        """Gauges that are read when somebody scrapes, not on the way of a request."""
        self._before_scrape.append(refresh)

    def render(self) -> bytes:
        """Prometheus' text format."""
        for refresh in self._before_scrape:
            refresh()
        return generate_latest(self.registry)

    def _histogram(self, name: str, documentation: str, labels: Iterable[str] = ()) -> Histogram:
        return Histogram(name, documentation, list(labels), buckets=LATENCY_SECONDS, registry=self.registry)
