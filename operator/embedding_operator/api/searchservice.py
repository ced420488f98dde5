"""SearchService: the endpoint that applications call."""

from enum import StrEnum
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from .autoscaling import Autoscaling
from .cel import Rule
from .resource import OneOf, Part, Resource, Status
from .shared import Cache, IndexReference, ModelReference, PodOverrides, Resources, SecretReference
from .values import Count, HostName, ObjectName, Rate, Replicas, Text

Milliseconds = Annotated[int, Field(ge=1, le=600_000)]


class PartialResults(StrEnum):
    NEVER = "Never"
    ALLOW = "Allow"


class WhenRedisFails(StrEnum):
    ALLOW = "Allow"
    DENY = "Deny"


class Rerank(Part):
    """Orders the best hits again with a re-ranker. Where that takes too long, the first order is answered."""

    model_ref: ModelReference
    """An EmbeddingModel with task Rerank."""
    candidates: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Hits to order again."""
    timeout_milliseconds: Milliseconds = 200
    """The longest that it may take."""


class Limits(Part):
    """The most that one request may ask for."""

    max_body_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] = 16_777_216
    """Largest request body."""
    max_k: Annotated[int, Field(ge=1, le=100_000)] = 1_000
    """Most hits of one search."""
    max_batch: Annotated[int, Field(ge=1, le=100_000)] = 256
    """Most searches or documents of one request."""


class SearchCache(Cache):
    """Search results that are kept for reuse. An outage of the cache makes answers slower, never wrong."""

    ttl_seconds: Annotated[int, Field(ge=0, le=31_536_000)] = 3_600
    """Life of an entry in seconds; 0 = no cache."""


class SearchRateLimit(Part):
    """Limit per API key, or per client address where there are no keys; beyond, requests are answered 429."""

    requests_per_minute: Rate
    """Requests per client and minute."""
    burst: Rate | None = None
    """Requests that may come at once; absent = requestsPerMinute."""
    when_redis_fails: WhenRedisFails = WhenRedisFails.ALLOW
    """What happens to requests while Redis, where replicas share their counts, does not answer."""


class Ingress(Part):
    """An Ingress for the endpoint."""

    host: HostName
    """Host name that it answers to."""
    class_name: ObjectName | None = None
    """IngressClass; absent = the cluster's default."""
    tls_secret_ref: SecretReference | None = None
    """Secret with the certificate for the host; absent = plain HTTP."""


class ParentReference(Part):
    """A Gateway to attach to, as in an HTTPRoute. It may lie in another namespace: whom it admits is the Gateway's own
    decision."""

    name: ObjectName
    """Name of the Gateway."""
    namespace: Annotated[str, Field(min_length=1, max_length=63)] | None = None
    """Namespace of the Gateway; absent = the same."""
    section_name: ObjectName | None = None
    """Listener of the Gateway; absent = all that fit."""
    port: Annotated[int, Field(ge=1, le=65_535)] | None = None
    """Port of the listener; absent = all that fit."""


class HTTPRoute(Part):
    """An HTTPRoute of the Gateway API for the endpoint."""

    parent_refs: Annotated[tuple[ParentReference, ...], Field(min_length=1, max_length=32)]
    """Gateways to attach to."""
    hostnames: Annotated[tuple[HostName, ...], Field(max_length=16)] = ()
    """Host names that it answers to; absent = those of the listener."""


class Expose(OneOf):
    """Makes the endpoint reachable from outside the cluster, in exactly one way."""

    ingress: Ingress | None = None
    http_route: HTTPRoute | None = None


class SearchServiceSpec(Part):
    """What to search, and how."""

    rules: ClassVar = (
        Rule(
            "!has(self.expose) || has(self.apiKeysSecretRef)",
            "opens the documents to whoever reaches the host: set apiKeysSecretRef or remove expose",
            member="expose",
        ),
        Rule(
            "!has(self.fallbackIndexRef) || self.fallbackIndexRef.name != self.indexRef.name",
            "must name another VectorIndex than indexRef: change or remove it",
            member="fallbackIndexRef.name",
        ),
        Rule(
            "!has(self.rerank) || (has(self.rerank.timeoutMilliseconds) ? self.rerank.timeoutMilliseconds : 200) < "
            "(has(self.timeoutMilliseconds) ? self.timeoutMilliseconds : 1000)",
            "is a part of timeoutMilliseconds and must be less: lower it or raise timeoutMilliseconds",
            member="rerank.timeoutMilliseconds",
        ),
        Rule(
            "!has(self.rateLimit) || !has(self.rateLimit.whenRedisFails) || "
            "(has(self.cache) && has(self.cache.redisSecretRef))",
            "needs a Redis that counts: set cache.redisSecretRef or remove it",
            member="rateLimit.whenRedisFails",
        ),
    )

    index_ref: IndexReference
    """The VectorIndex to search."""
    fallback_index_ref: IndexReference | None = None
    """A VectorIndex to search while the first can't answer."""
    replicas: Replicas = 2
    """Number of gateway pods; 0 = stopped. Ignored while autoscaling is given."""
    autoscaling: Autoscaling | None = None
    resources: Resources = Resources()
    """CPU and memory of the gateway container."""
    pod: PodOverrides = PodOverrides()
    """Scheduling and labelling of the gateway pods."""
    rerank: Rerank | None = None
    """Orders the best hits again; absent = not at all."""
    timeout_milliseconds: Milliseconds = 1_000
    """The longest that a search may take."""
    partial_results: PartialResults = PartialResults.NEVER
    """Whether a search may answer without the shards that are down; the answer says so."""
    limits: Limits = Limits()
    cache: SearchCache = SearchCache()
    """Search results that are kept for reuse."""
    rate_limit: SearchRateLimit | None = None
    """Limit per client; absent = unlimited."""
    api_keys_secret_ref: SecretReference | None = None
    """Secret with one entry per API key: its hash, role and expiry. Absent = open to all pods of the cluster."""
    expose: Expose | None = None
    """Makes the endpoint reachable from outside the cluster; absent = inside alone."""


class RouteStatus(Part):
    """What the gateways read from."""

    index: Text
    """Name of the VectorIndex."""
    generation: Count | None = None
    """Generation that answers."""
    epoch: Count | None = None
    """Epoch of its route."""
    gateways_on_epoch: Count | None = None
    """Gateway pods that follow this epoch."""


class SearchServiceStatus(Status):
    """What the operator found and did."""

    replicas: Count | None = None
    """Gateway pods."""
    ready_replicas: Count | None = None
    """Gateway pods that serve."""
    selector: Text | None = None
    """Label selector of the pods, for the scale subresource."""
    endpoint: Text | None = None
    """URL inside the cluster."""
    route: RouteStatus | None = None
    """What the gateways read from."""


class SearchService(Resource[SearchServiceSpec, SearchServiceStatus]):
    """The endpoint that applications call: search by meaning, filters, re-ranking, cache, rate limits, API keys."""

    kind: Literal["SearchService"] = "SearchService"
    status: SearchServiceStatus = SearchServiceStatus()
