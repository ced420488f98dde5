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
