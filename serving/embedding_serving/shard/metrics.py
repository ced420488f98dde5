"""Every metric of a shard, under one registry. Gauges are read when somebody scrapes."""

from collections.abc import Callable, Iterable
from functools import lru_cache

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ..contract.admin import Mode, ShardInfo
from .store.writer import Commit

LATENCY_SECONDS = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30)
GROUP_CHANGES = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000)
SEARCHES = frozenset({"search", "keywords"})

GAUGES: tuple[tuple[str, str, Callable[[ShardInfo], float]], ...] = (
    ("shard_ready", "1 while this copy answers", lambda info: info.ready),
    ("shard_documents", "Live documents", lambda info: info.documents),
    ("shard_tombstones", "Deletions that are still remembered", lambda info: info.tombstones),
    ("shard_failed_documents", "Documents that could not be embedded", lambda info: info.failed_documents),
    ("shard_position", "End of the feed", lambda info: info.position),
    ("shard_epoch", "Epoch of the protocol", lambda info: info.epoch),
    ("shard_retired", "1 where another generation answers", lambda info: info.retired),
    ("shard_store_bytes", "Size of the database", lambda info: info.bytes),
    ("shard_free_bytes", "Space that the volume has left", lambda info: info.free_bytes),
    ("shard_faulty", "1 while the shard cannot write or serve; /v1/info says why", lambda info: info.fault is not None),
)


class Metrics:
    def __init__(self) -> None:
        registry = self.registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter("shard_requests_total", "Calls by operation and code", ["op", "code"], registry=registry)
        self._seconds = Histogram(
            "shard_request_seconds", "Time from a call to its answer", ["op"], buckets=LATENCY_SECONDS, registry=registry
        )
        self._search = Histogram(
            "search_latency_seconds", "Time of a search in this shard", buckets=LATENCY_SECONDS, registry=registry
        )
        self._commit_seconds = Histogram(
            "shard_commit_seconds", "Time of a transaction, sync included", buckets=LATENCY_SECONDS, registry=registry
        )
        self._commit_changes = Histogram(
            "shard_commit_changes", "Changes that share a transaction", buckets=GROUP_CHANGES, registry=registry
        )

        self._request_children = lru_cache(512)(lambda op, code: self._requests.labels(op, code))
        self._seconds_children = lru_cache(64)(lambda op: self._seconds.labels(op))

    def call(self, op: str, code: str, seconds: float) -> None:
        self._request_children(op, code).inc()
        self._seconds_children(op).observe(seconds)
        if op in SEARCHES:
            self._search.observe(seconds)

    def commit(self, commit: Commit) -> None:
        self._commit_seconds.observe(commit.seconds)
        self._commit_changes.observe(commit.changes)

    def watch(self, info: Callable[[], ShardInfo]) -> None:
        self.registry.register(_ShardCollector(info))

    def watch_connections(self, connections: Callable[[], int], calls: Callable[[], int]) -> None:
        gauges = (
            ("shard_connections", "Open connections of gateways and copies", connections),
            ("shard_calls", "Calls that are being answered", calls),
        )
        for name, text, value in gauges:
            Gauge(name, text, registry=self.registry).set_function(value)

    def render(self) -> bytes:
        """Prometheus' text format."""
        return generate_latest(self.registry)


class _ShardCollector(Collector):
    """One look at the shard a scrape, so that the numbers belong together."""

    def __init__(self, info: Callable[[], ShardInfo]) -> None:
        self._info = info

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterable[Metric]:
        info = self._info()
        for name, text, value in GAUGES:
            yield GaugeMetricFamily(name, text, value=float(value(info)))
        mode = GaugeMetricFamily("shard_mode", "1 for the mode that the shard is in", labels=["mode"])
        for one in Mode:
            mode.add_metric([one.value], float(info.mode is one))
        yield mode
        yield from _lags(info)
        yield from _build(info)
        yield from _index(info)


def _lags(info: ShardInfo) -> Iterable[Metric]:
    followers = GaugeMetricFamily("shard_follower_lag_rows", "Rows that a consumer has not synced yet", labels=["consumer"])
    for follower in info.followers:
        followers.add_metric([follower.consumer], info.position - follower.position)
    yield followers
    sources = GaugeMetricFamily("shard_source_behind_rows", "Rows of a followed feed that are not here yet", labels=["shard"])
    for source in info.sources:
        if source.behind is not None:
            sources.add_metric([str(source.shard)], source.behind)
    yield sources


def _build(info: ShardInfo) -> Iterable[Metric]:
    build = info.build
    if build is None:
        return
    yield CounterMetricFamily("embedding_rebuild_rows", "Rows embedded by this shard for its own generation", value=build.rows)
    yield CounterMetricFamily(
        "embedding_rebuild_reused_rows", "Rows whose vector a generation had that was given up", value=build.reused
    )
    yield GaugeMetricFamily(
        "embedding_rebuild_rows_per_second", "Rows embedded, over the last half minute", value=build.rows_per_second
    )
    yield GaugeMetricFamily("embedding_rebuild_waiting", "1 while rows wait to be embedded", value=float(bool(build.message)))


def _index(info: ShardInfo) -> Iterable[Metric]:
    index = info.index
    if index is None:
        return
    kind = GaugeMetricFamily("shard_index_type", "1 for the type of index at work", labels=["type"])
    kind.add_metric([index.type], 1.0)
    yield kind
    building = float(index.building is not None)
    yield GaugeMetricFamily("shard_index_building", "1 while an index is being built or is to be", value=building)
    yield GaugeMetricFamily("shard_index_covered_rows", "Rows that the index covers", value=float(index.covered))
    yield GaugeMetricFamily("shard_index_depth", "Candidates that are scored exactly", value=float(index.depth))
    yield GaugeMetricFamily("shard_index_dead_rows", "Replaced and deleted rows in the index", value=float(index.dead_rows))
    yield GaugeMetricFamily("shard_index_bytes", "Memory of the index, vectors apart", value=float(index.bytes))
    if index.recall is not None:
        yield GaugeMetricFamily(
            "retrieval_recall_at_10", "Share of the true 10 nearest in sampled searches", value=index.recall
        )
