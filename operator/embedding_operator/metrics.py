"""What the operator measures of itself."""

from prometheus_client import Counter, Gauge, Histogram

API_CALLS = Counter("embedding_operator_api_calls_total", "Calls to the API server.", ["method", "resource", "code"])
RECONCILES = Counter("embedding_operator_reconciles_total", "Reconciles, by outcome.", ["kind", "outcome"])
RECONCILE_SECONDS = Histogram(
    "embedding_operator_reconcile_seconds",
    "Duration of a reconcile.",
    ["kind"],
    buckets=(0.01, 0.05, 0.1, 0.5, 1, 5, 30),
)
QUEUE_DEPTH = Gauge("embedding_operator_queue_depth", "Objects that wait to be reconciled.")
QUEUE_OLDEST_SECONDS = Gauge("embedding_operator_queue_oldest_seconds", "How long the oldest object has waited.")
LEADER = Gauge("embedding_operator_leader", "1 while this replica leads.")

_INDEX = ["namespace", "index"]
REBUILD_PHASE = Gauge("embedding_operator_rebuild_phase", "1 for the phase of a rebuild.", [*_INDEX, "phase"])
REBUILD_DOCUMENTS = Gauge("embedding_operator_rebuild_documents", "Documents that the other generation has.", _INDEX)
REBUILD_TOTAL_DOCUMENTS = Gauge("embedding_operator_rebuild_total_documents", "Documents of the one that serves.", _INDEX)
REBUILD_BEHIND_ROWS = Gauge("embedding_operator_rebuild_behind_rows", "Changes that are still to be taken.", _INDEX)
REBUILD_ROWS_PER_SECOND = Gauge("embedding_operator_rebuild_rows_per_second", "Rows embedded by all shards.", _INDEX)
REBUILD_RECALL = Gauge("embedding_operator_rebuild_recall", "Recall that the gate found.", _INDEX)
REBUILD_STALLED = Gauge("embedding_operator_rebuild_stalled", "1 beyond the progress deadline.", _INDEX)
REBUILDS = Counter("embedding_operator_rebuilds_total", "Rebuilds and switches, by outcome.", [*_INDEX, "outcome"])
REBUILD_WRITE_PAUSE_SECONDS = Histogram(
    "embedding_operator_rebuild_write_pause_seconds",
    "From the decision to fence until every shard took writes again.",
    _INDEX,
    buckets=(0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
)
