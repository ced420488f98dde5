"""Manifests that the API server must refuse: what is wrong, the field that the answer names, the remedy it gives.

Each row changes a small valid manifest of its kind. A change is a dotted path with its new value; GONE removes it.
"""

from typing import Any, NamedTuple

GONE = object()

VALID: dict[str, dict[str, Any]] = {
    "EmbeddingModel": {"model": {"source": {"persistentVolumeClaim": {"claimName": "models"}}}},
    "VectorIndex": {"modelRef": {"name": "minilm"}, "storage": {"size": "10Gi"}},
    "SearchService": {"indexRef": {"name": "docs"}},
}


class Refused(NamedTuple):
    kind: str
    changes: dict[str, Any]
    field: str
    remedy: str


class Update(NamedTuple):
    kind: str
    before: dict[str, Any]
    after: dict[str, Any]
    field: str
    remedy: str


def em(field: str, remedy: str, **changes: Any) -> Refused:
    return Refused("EmbeddingModel", _paths(field, changes), field, remedy)


def vi(field: str, remedy: str, **changes: Any) -> Refused:
    return Refused("VectorIndex", _paths(field, changes), field, remedy)


def ssvc(field: str, remedy: str, **changes: Any) -> Refused:
    return Refused("SearchService", _paths(field, changes), field, remedy)


def _paths(field: str, changes: dict[str, Any]) -> dict[str, Any]:
    return {field if name == "to" else name: value for name, value in changes.items()}


def source(**member: Any) -> dict[str, Any]:
    return {"spec.model.source": member}


def metric(**members: Any) -> dict[str, Any]:
    return {"spec.autoscaling": {"maxReplicas": 3, "metrics": [members]}}


SOURCE = "spec.model.source"
HUB = f"{SOURCE}.huggingFace"
DIGEST = "0" * 64
ONE_OF_SOURCES = "exactly one of huggingFace, image, persistentVolumeClaim, http, openAI"
TEN_LISTS = {"parameters": {"lists": 10}}

NAMES = [
    em("metadata.name", "must start with a letter", to="3small"),
    em("metadata.name", "have no dots", to="mini.lm"),
    em("metadata.name", "at most 40 characters", to="m" * 41),
    vi("metadata.name", "must start with a letter", to="3docs"),
    ssvc("metadata.name", "at most 40 characters", to="s" * 41),
]

MODELS = [
    em("spec.model", "Required value", to=GONE),
    em("spec.model.source", "Required value", to=GONE),
    em(SOURCE, ONE_OF_SOURCES, to={}),
    em(
        SOURCE,
        ONE_OF_SOURCES,
        to={"persistentVolumeClaim": {"claimName": "a"}, "huggingFace": {"repo": "a/b", "revision": "0" * 40}},
    ),
    em(f"{HUB}.revision", "40 hex digits: branches and tags move", **source(huggingFace={"repo": "a/b", "revision": "main"})),
    em(f"{HUB}.revision", "40 hex digits", **source(huggingFace={"repo": "a/b", "revision": "c9745ed1"})),
    em(f"{HUB}.revision", "Required value", **source(huggingFace={"repo": "a/b"})),
    em(f"{HUB}.repo", "not a URL", **source(huggingFace={"repo": "https://hub.example/a/b", "revision": "0" * 40})),
    em(
        f"{HUB}.tokenSecretRef.name",
        "lower-case letters",
        **source(huggingFace={"repo": "a/b", "revision": "0" * 40, "tokenSecretRef": {"name": "Hub_Token"}}),
    ),
    em(
        f"{SOURCE}.image.reference",
        "pinned by digest",
        **source(image={"reference": "registry.example.com/minilm:v1", "path": "/model"}),
    ),
    em(f"{SOURCE}.image.reference", "64 hex digits", **source(image={"reference": "minilm@sha256:abc", "path": "/model"})),
    em(f"{SOURCE}.image.path", "Required value", **source(image={"reference": f"m@sha256:{DIGEST}"})),
    em(f"{SOURCE}.image.path", "/ would copy the system", **source(image={"reference": f"m@sha256:{DIGEST}", "path": "/"})),
    em(f"{SOURCE}.image.path", "absolute path", **source(image={"reference": f"m@sha256:{DIGEST}", "path": "model"})),
    em(
        f"{SOURCE}.persistentVolumeClaim.path",
        "without ..",
        **source(persistentVolumeClaim={"claimName": "a", "path": "/a/../../etc"}),
    ),
    em(
        f"{SOURCE}.persistentVolumeClaim.claimName",
        "name of an object",
        **source(persistentVolumeClaim={"claimName": "/models"}),
    ),
    em(
        f"{SOURCE}.http.url",
        "starts with https:// or http://",
        **source(http={"url": "ftp://example.com/m.tar", "sha256": DIGEST}),
    ),
    em(f"{SOURCE}.http.url", "complete URL", **source(http={"url": "example.com/m.tar", "sha256": DIGEST})),
    em(
        f"{SOURCE}.http.url",
        "no place for secrets",
        **source(http={"url": "https://me:pw@example.com/m.tar", "sha256": DIGEST}),
    ),
    em(f"{SOURCE}.http.sha256", "sha256sum prints it", **source(http={"url": "https://example.com/m.tar", "sha256": "ABC"})),
    em(f"{SOURCE}.http.sha256", "Required value", **source(http={"url": "https://example.com/m.tar"})),
    em(f"{SOURCE}.openAI.secretRef", "Required value", **source(openAI={"model": "text-embedding-3-small"})),
    em("spec.model.task", '"Embed", "Rerank"', to="Embedding"),
    em("spec.model.pooling", '"Auto", "Mean", "CLS", "LastToken"', to="Max"),
    em("spec.model.precision", '"Float32", "BFloat16", "Float16", "Int8"', to="fp16"),
    em("spec.model.dimensions", "a re-ranker has no vectors: remove it", to=128, **{"spec.model.task": "Rerank"}),
    em("spec.model.pooling", "a re-ranker has no vectors: remove it", to="CLS", **{"spec.model.task": "Rerank"}),
    em("spec.model.queryPrefix", "Embed alone: remove it", to="query: ", **{"spec.model.task": "Rerank"}),
    em("spec.model.documentPrefix", "Embed alone: remove it", to="passage: ", **{"spec.model.task": "Rerank"}),
    em("spec.model.dimensions", "greater than or equal to 1", to=0),
    em("spec.model.dimensions", "must be of type integer", to=12.5),
    em("spec.model.queryPrefix", "Too long: may not be more than 4096", to="q" * 4097),
]

RUNNING = [
    em("spec.runtime.engine", '"ONNXRuntime", "OpenVINO", "Torch"', to="onnx"),
    em("spec.runtime.selfCheck", '"Enforce", "Warn"', to=False),
    em("spec.weights", "exactly one of persistentVolumeClaim, size", to={}),
    em("spec.weights", "exactly one of", to={"size": "1Gi", "persistentVolumeClaim": {"claimName": "a"}}),
    em("spec.weights.size", "a quantity: a number with an optional unit", to="10GB"),
    em("spec.weights.size", "must be more than zero", to="0"),
    em("spec.replicas", "greater than or equal to 0", to=-1),
    em("spec.replicas", "less than or equal to 1000", to=100_000),
    em("spec.replicas", "must be of type integer", to="two"),
    em("spec.rollout.strategy", '"Surge", "Recreate"', to="RollingUpdate"),
    em("spec.rollout.progressDeadlineSeconds", "greater than or equal to 10", to=0),
    em("spec.cache.ttlSeconds", "greater than or equal to 0", to=-1),
    em("spec.cache.redisSecretRef.name", "Required value", to=GONE, **{"spec.cache.redisSecretRef": {"key": "url"}}),
    em(
        "spec.cache.redisSecretRef.key",
        "letters, digits, dashes, dots",
        to="a/b",
        **{"spec.cache.redisSecretRef.name": "redis"},
    ),
    em("spec.rateLimit.requestsPerMinute", "greater than or equal to 1", to=0),
    em("spec.rateLimit.tokensPerMinute", "greater than or equal to 1", to=-5),
    em("spec.resources.limits", "use those names", to={"gpu": 1}),
    em("spec.resources.limits[memory]", "such as 500m, 2 or 4Gi", **{"spec.resources.limits": {"memory": "4GB"}}),
    em("spec.resources.requests[cpu]", "must not be negative", **{"spec.resources.requests": {"cpu": "-1"}}),
    em(
        "spec.resources.requests",
        "lower the request or raise the limit",
        **{"spec.resources": {"requests": {"memory": "4Gi"}, "limits": {"memory": "2Gi"}}},
    ),
    em("spec.resources.requests", "set it in limits", **{"spec.resources": {"requests": {"nvidia.com/gpu": 1}}}),
]

SCALING = [
    em("spec.autoscaling.maxReplicas", "Required value", **{"spec.autoscaling": {"minReplicas": 1}}),
    em(
        "spec.autoscaling.minReplicas",
        "lower it or raise maxReplicas",
        **{"spec.autoscaling": {"minReplicas": 4, "maxReplicas": 3}},
    ),
    em("spec.autoscaling.minReplicas", "greater than or equal to 1", to=0, **{"spec.autoscaling.maxReplicas": 3}),
    em("spec.autoscaling.metrics[0].type", '"CPUUtilization", "QueuedTokens"', **metric(type="CPU", target=70)),
    em("spec.autoscaling.metrics[0].target", "must be more than zero", **metric(type="QueuedTokens", target=0)),
    em("spec.autoscaling.metrics[0].target", "such as 70", **metric(type="CPUUtilization", target="500m")),
    em("spec.autoscaling.metrics[0].name", "set the name of your metric", **metric(type="External", target=10)),
    em("spec.autoscaling.metrics[0].name", "remove it", **metric(type="QueuedTokens", target=10, name="queue")),
    em("spec.autoscaling.metrics[0].matchLabels", "remove it", **metric(type="QueuedTokens", target=1, matchLabels={"a": "b"})),
    em("spec.autoscaling.metrics", "at least 1 items", **{"spec.autoscaling": {"maxReplicas": 3, "metrics": []}}),
    em(
        "spec.autoscaling.behavior.scaleDown.selectPolicy",
        '"Max", "Min", "Disabled"',
        to="Slow",
        **{"spec.autoscaling.maxReplicas": 3},
    ),
]

PODS = [
    em("spec.pod.labels", "use a key of your own domain", to={"app.kubernetes.io/name": "x"}),
    em("spec.pod.labels", "use a key of your own domain", to={"embedding-operator.io/model": "x"}),
    em("spec.pod.labels[team]", "start and end with a letter or digit", **{"spec.pod.labels": {"team": "search & co"}}),
    em("spec.pod.annotations", "use a key of your own domain", to={"kubernetes.io/limit-ranger": "x"}),
    em("spec.pod.annotations", "must be of type string", **{"spec.pod.annotations": {"example.com/scrape": True}}),
    em("spec.pod.tolerations[0].operator", "name the key of the taint", **{"spec.pod.tolerations": [{"effect": "NoSchedule"}]}),
    em(
        "spec.pod.tolerations[0].value",
        "use operator: Equal",
        **{"spec.pod.tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
    ),
    em(
        "spec.pod.tolerations[0].effect",
        '"NoSchedule", "PreferNoSchedule", "NoExecute"',
        **{"spec.pod.tolerations": [{"key": "a", "effect": "No"}]},
    ),
    em(
        "spec.pod.topologySpreadConstraints[0].whenUnsatisfiable",
        "Required value",
        **{"spec.pod.topologySpreadConstraints": [{"maxSkew": 1, "topologyKey": "zone"}]},
    ),
    em("spec.pod.affinity.nodeAfinity", "unknown field", to={}),
    em("spec.pod.imagePullSecrets[1]", "Duplicate value", **{"spec.pod.imagePullSecrets": [{"name": "a"}, {"name": "a"}]}),
    em("spec.pod.securityContext", "unknown field", to={"runAsUser": 0}),
]

INDEXES = [
    vi(
        "spec",
        "exactly one of modelRef (documents are texts) and dimensions (clients bring vectors)",
        **{"spec.dimensions": 384},
    ),
    vi("spec", "exactly one of modelRef", **{"spec.modelRef": GONE}),
    vi("spec.modelRef.name", "starting with a letter", to="3small"),
    vi("spec.modelRef.namespace", "unknown field", to="other"),
    vi("spec.storage", "Required value", to=GONE),
    vi("spec.storage.size", "must be a quantity", to="ten"),
    vi("spec.storage.size", "must be more than zero", to=0),
    vi("spec.shards", "less than or equal to 256", to=257),
    vi("spec.shards", "greater than or equal to 1", to=0),
    vi("spec.replicas", "less than or equal to 20", to=21),
    vi("spec.acknowledge", "set replicas to 2 or more", to="Follower"),
    vi("spec.distance", '"Cosine", "Dot", "Euclidean"', to="L2"),
    vi("spec.autoscaling.minReplicas", "raise it or lower replicas", **{"spec.replicas": 3, "spec.autoscaling.maxReplicas": 5}),
    vi("spec.autoscaling.maxReplicas", "at most 20", to=50),
    vi("spec.index.type", '"HNSW", "ScaNN"', to="Annoy"),
    vi("spec.index.parameters.lists", "set that type or remove it", **{"spec.index": TEN_LISTS}),
    vi("spec.index.parameters.m", "belongs to type HNSW", to=16, **{"spec.index.type": "Flat"}),
    vi("spec.index.parameters.efConstruction", "belongs to type HNSW", to=200, **{"spec.index.type": "IVFPQ"}),
    vi("spec.index.parameters.subquantizers", "IVFPQ or PQFastScan", to=8, **{"spec.index.type": "HNSW"}),
    vi("spec.index.targetRecallPercent", "less than or equal to 100", to=101),
    vi("spec.fields[0].name", "metadata member such as price", **{"spec.fields": [{"name": "a b", "type": "Keyword"}]}),
    vi("spec.fields[0].type", '"Keyword", "Integer"', **{"spec.fields": [{"name": "a", "type": "String"}]}),
    vi(
        "spec.fields[1]",
        "Duplicate value",
        **{"spec.fields": [{"name": "a", "type": "Text"}, {"name": "a", "type": "Keyword"}]},
    ),
    vi("spec.rebuild.schedule", "a cron expression of five fields, such as 0 3", to="every night"),
    vi("spec.rebuild.timeZone", "set schedule or remove it", to="Europe/Berlin"),
    vi("spec.rebuild.timeZone", "such as Europe/Berlin", to="UTC+1 h", **{"spec.rebuild.schedule": "@daily"}),
    vi("spec.rebuild.autoPromotionSeconds", "set autoPromotionEnabled to false", to=60),
    vi("spec.rebuild.canary[0].weightPercent", "less than or equal to 99", **{"spec.rebuild.canary": [{"weightPercent": 100}]}),
    vi("spec.rebuild.canary", "sort by weightPercent", to=[{"weightPercent": 50}, {"weightPercent": 10}]),
    vi("spec.rebuild.prePromotionAnalysis.minRecallPercent", "less than or equal to 100", to=950),
    vi(
        "spec.rebuild.prePromotionAnalysis.goldenQueries.configMapRef",
        "Required value",
        **{"spec.rebuild.prePromotionAnalysis.goldenQueries": {}},
    ),
    vi("spec.rebuild.encoders.replicas", "Required value", **{"spec.rebuild.encoders": {}}),
    vi(
        "spec.rebuild.encoders",
        "needs modelRef: remove it",
        to={"replicas": 1},
        **{"spec.modelRef": GONE, "spec.dimensions": 384},
    ),
    vi("spec.rebuild.fenceTimeoutSeconds", "less than or equal to 300", to=3600),
]

SERVICES = [
    ssvc("spec.indexRef", "Required value", to=GONE),
    ssvc("spec.indexRef.name", "starting with a letter", to="Docs"),
    ssvc("spec.fallbackIndexRef.name", "another VectorIndex than indexRef", to="docs"),
    ssvc("spec.expose", "set apiKeysSecretRef or remove expose", to={"ingress": {"host": "search.example.com"}}),
    ssvc("spec.expose", "exactly one of ingress, httpRoute", to={}, **{"spec.apiKeysSecretRef.name": "keys"}),
    ssvc(
        "spec.expose.ingress.host",
        "without scheme, port or path",
        to="https://search.example.com",
        **{"spec.apiKeysSecretRef.name": "keys"},
    ),
    ssvc(
        "spec.expose.httpRoute.parentRefs",
        "Required value",
        **{"spec.expose.httpRoute": {}, "spec.apiKeysSecretRef.name": "keys"},
    ),
    ssvc(
        "spec.rerank.timeoutMilliseconds",
        "lower it or raise timeoutMilliseconds",
        to=1000,
        **{"spec.rerank.modelRef.name": "ms-marco"},
    ),
    ssvc("spec.rerank.modelRef", "Required value", **{"spec.rerank": {"candidates": 50}}),
    ssvc("spec.partialResults", '"Never", "Allow"', to="Sometimes"),
    ssvc("spec.limits.maxK", "greater than or equal to 1", to=0),
    ssvc("spec.limits.maxBodyBytes", "less than or equal to 1073741824", to=2_000_000_000),
    ssvc("spec.rateLimit.requestsPerMinute", "Required value", **{"spec.rateLimit": {"burst": 10}}),
    ssvc("spec.rateLimit.whenRedisFails", "set cache.redisSecretRef", to="Deny", **{"spec.rateLimit.requestsPerMinute": 60}),
    ssvc("spec.timeoutMilliseconds", "greater than or equal to 1", to=0),
]

REFUSED = [*NAMES, *MODELS, *RUNNING, *SCALING, *PODS, *INDEXES, *SERVICES]

CLIENT_VECTORS = {"spec.modelRef": GONE, "spec.dimensions": 384}

UPDATES = [
    Update("VectorIndex", CLIENT_VECTORS, {"spec.dimensions": 768}, "spec.dimensions", "create another VectorIndex"),
    Update(
        "VectorIndex",
        CLIENT_VECTORS,
        {"spec.dimensions": GONE, "spec.modelRef.name": "a"},
        "spec",
        "create another VectorIndex",
    ),
    Update("VectorIndex", {}, {"spec.modelRef": GONE, "spec.dimensions": 384}, "spec", "create another VectorIndex"),
    Update("VectorIndex", {}, {"spec.distance": "Dot"}, "spec.distance", "create another VectorIndex"),
    Update("VectorIndex", {"spec.distance": "Dot"}, {"spec.distance": GONE}, "spec.distance", "create another VectorIndex"),
    Update("VectorIndex", {}, {"spec.storage.size": "9Gi"}, "spec.storage.size", "at least its former value"),
    Update("VectorIndex", {}, {"spec.storage.size": "10G"}, "spec.storage.size", "at least its former value"),
    Update("VectorIndex", {}, {"spec.storage": GONE}, "spec.storage", "Required value"),
]

ALLOWED_UPDATES: list[tuple[str, dict[str, Any], dict[str, Any]]] = [
    ("VectorIndex", {}, {"spec.modelRef.name": "e5-large"}),
    ("VectorIndex", {}, {"spec.storage.size": "20Gi"}),
    ("VectorIndex", {}, {"spec.storage.size": "10240Mi"}),
    ("VectorIndex", {}, {"spec.distance": "Cosine"}),
    ("VectorIndex", {"spec.distance": "Cosine"}, {"spec.distance": GONE}),
    ("VectorIndex", {}, {"spec.shards": 4, "spec.replicas": 2, "spec.storage.storageClassName": "fast"}),
    ("EmbeddingModel", {}, {"spec.model.source": {"http": {"url": "https://example.com/m.tar", "sha256": DIGEST}}}),
    ("EmbeddingModel", {"spec.weights": {"size": "2Gi"}}, {"spec.weights.size": "1Gi"}),
    ("SearchService", {}, {"spec.indexRef.name": "other"}),
]


def manifest(kind: str, changes: dict[str, Any], name: str, namespace: str) -> dict[str, Any]:
    """A valid manifest of `kind` with `changes`."""
    out: dict[str, Any] = {
        "apiVersion": "embedding-operator.io/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
        "spec": copy(VALID[kind]),
    }
    for path, value in changes.items():
        *parents, last = path.split(".")
        at = out
        for parent in parents:
            at = at.setdefault(parent, {})
        if value is GONE:
            at.pop(last, None)
        else:
            at[last] = value
    return out


def copy(value: Any) -> Any:
    return {name: copy(member) for name, member in value.items()} if isinstance(value, dict) else value
