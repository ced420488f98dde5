"""Every setting of every role, one class a role. The operator renders them with `to_env`; a pod reads them by construction."""

from enum import StrEnum
from typing import Any

import orjson
from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from .index import Acknowledge, Distance, FieldIndex, IndexOptions
from .model import EngineName, ModelOptions, SelfCheck, Source
from .route import GenerationRoute

ENV_PREFIX = "EO_"
API_PORT = 8080
ADMIN_PORT = 8081
FRAME_PORT = 8082
DATA_DIR = "/data"
ROUTE_DIR = "/route"
FALLBACK_ROUTE_DIR = "/fallback-route"
KEYS_DIR = "/keys"
GOLDEN_DIR = "/golden"
GOLDEN_FILE = "queries.jsonl"
WEIGHTS_DIR = "/weights"
SOURCE_DIR = "/source"
TERMINATION_PATH = "/dev/termination-log"


class RoleSettings(BaseSettings):
    """Common to all roles. Nested values are JSON; secrets arrive by `secretKeyRef` and are never rendered here."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    termination_path: str = Field(default=TERMINATION_PATH, description="Where the last report goes for the operator to read.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")
    host: str = Field(default="", description="Address to listen on; empty = every address of the pod.")


class ModelRoleSettings(RoleSettings):
    """Common to the roles that hold a model."""

    revision: str = Field(description="Name of the model revision, 8 hex digits.", pattern="^[0-9a-f]{8}$")
    expected_fingerprint: str | None = Field(
        default=None, description="Fingerprint that the revision is known to have; a pod with another refuses to serve."
    )
    weights_dir: str = Field(default=WEIGHTS_DIR, description="Where prepared models lie, one directory a fingerprint.")


class PrepareSettings(ModelRoleSettings):
    """Role `prepare`: fetch, verify and convert a model once."""

    source: Source = Field(description="Where the model's files come from.")
    options: ModelOptions = Field(default=ModelOptions(), description="What decides, with the files, the vector space.")
    engine: EngineName = Field(default=EngineName.AUTO, description="Engine to convert for.")
    hub_endpoint: str | None = Field(default=None, description="URL of the hub; absent = the client's own default.")
    hub_token: SecretStr | None = Field(default=None, description="Access token, sent to the hub's URL alone.")
    http_allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Hosts that an `http` source may name; empty = any but loopback and link-local."
    )


class EmbedSettings(ModelRoleSettings):
    """Role `embed`: serve one prepared model."""

    model_name: str = Field(description="Name that answers carry: the EmbeddingModel's.")
    engine: EngineName = Field(default=EngineName.AUTO, description="Engine to run.")
    self_check: SelfCheck = Field(default=SelfCheck.ENFORCE, description="What a failed comparison with the reference means.")
    workers: int | None = Field(default=None, ge=1, description="Encoder threads; absent = the CPU quota of the cgroup.")
    max_batch_tokens: int | None = Field(default=None, ge=1, description="Padded tokens a batch; absent = the engine's best.")
    max_queued_tokens: int = Field(default=65_536, ge=1, description="Tokens that may wait; beyond, requests get 429.")
    max_body_bytes: int = Field(default=8 * 1024 * 1024, ge=1, description="Largest request body.")
    max_texts: int = Field(default=1_024, ge=1, description="Most texts of one request.")
    max_text_bytes: int = Field(default=262_144, ge=1, description="Longest text, in UTF-8 bytes, checked before tokenising.")
    cache_ttl_seconds: int = Field(default=0, ge=0, description="Life of a cached vector; 0 = no cache.")
    cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0, description="Size of the in-process cache.")
    redis_url: SecretStr | None = Field(default=None, description="Shared cache; absent = in-process only.")
    requests_per_minute: int | None = Field(default=None, ge=1, description="Per client; absent = unlimited.")
    tokens_per_minute: int | None = Field(default=None, ge=1, description="Per client; absent = unlimited.")
    port: int = Field(default=API_PORT, description="API port.")
    admin_port: int = Field(default=ADMIN_PORT, description="Port of metrics, health and the admin surface.")
    drain_seconds: float = Field(
        default=5.0, ge=0, description="After SIGTERM: how long to keep accepting while endpoints forget this pod."
    )
    shutdown_seconds: float = Field(default=30.0, ge=0, description="After the drain: how long running requests may take.")


class PodSettings(RoleSettings):
    """Common to the roles that the operator commands over the admin API."""

    pod: str = Field(description="Name of the pod.")
    namespace: str = Field(description="Namespace of the pod.")
    admin_public_keys: tuple[str, ...] = Field(
        default=(), description="Ed25519 public keys (base64 of 32 bytes) whose tokens are accepted; empty = none is."
    )
    admin_port: int = Field(default=ADMIN_PORT, description="Port of metrics, health and the admin surface.")
    drain_seconds: float = Field(
        default=5.0, ge=0, description="After SIGTERM: how long to keep accepting while endpoints forget this pod."
    )
    shutdown_seconds: float = Field(default=30.0, ge=0, description="After the drain: how long running requests may take.")


class ShardSettings(PodSettings):
    """Role `shard`: one copy of one shard of one generation. The ordinal at the end of the pod's name is its number."""

    index: str = Field(description="Name of the VectorIndex.")
    generation: int = Field(ge=1, description="Generation that the shard belongs to.")
    shard: int = Field(ge=0, description="Number of the shard.")
    shards: int = Field(ge=1, description="Shards of the generation.")
    writer: str = Field(description="Host of the pod that takes writes (pod 0); the others follow its feed.")
    fingerprint: str = Field(description="Vector space of the generation.")
    dimensions: int = Field(ge=1, description="Length of its vectors.")
    distance: Distance = Field(default=Distance.COSINE, description="How vectors are compared.")
    text_required: bool = Field(default=True, description="Documents have text, from which a vector can be made again.")
    acknowledge: Acknowledge = Field(default=Acknowledge.WRITER, description="When a write is acknowledged.")
    index_options: IndexOptions = Field(default=IndexOptions(), description="The approximate index.")
    fields: tuple[FieldIndex, ...] = Field(default=(), description="Metadata that filters find by an index.")
    encoder: str | None = Field(default=None, description="Base URL of the encoder, for documents that are embedded here.")
    data_dir: str = Field(default=DATA_DIR, description="Where the volume is mounted.")
    request_retention_seconds: float = Field(
        default=3_600.0, gt=0, description="How long a write is known by its request id; older copies are refused."
    )
    follower_timeout_seconds: float = Field(
        default=5.0, gt=0, description="How long a write waits for a follower where the index asks for one."
    )
    search_threads: int | None = Field(default=None, ge=1, description="Threads for long searches; absent = the CPU quota.")
    recall_sample_seconds: float = Field(
        default=30.0, ge=0, description="How often a recent query is answered exactly to measure recall; 0 = never."
    )
    frame_port: int = Field(default=FRAME_PORT, description="Port of the frame server, for gateways and other shards.")


class GatewaySettings(PodSettings):
    """Role `gateway`: the HTTP API of a SearchService."""

    service: str = Field(description="Name of the SearchService.")
    index: str = Field(description="Name of the VectorIndex.")
    route_dir: str = Field(default=ROUTE_DIR, description="Where the route is mounted.")
    fallback_index: str | None = Field(default=None, description="Index to search while the first cannot answer.")
    fallback_route_dir: str = Field(default=FALLBACK_ROUTE_DIR, description="Where the route of the fallback is mounted.")
    keys_dir: str | None = Field(default=None, description="Where API keys are mounted, one file a key; absent = open to all.")
    timeout_seconds: float = Field(default=1.0, gt=0, description="The longest that a search may take.")
    write_timeout_seconds: float = Field(default=30.0, gt=0, description="The longest that a write may take.")
    partial_results: bool = Field(default=False, description="Whether a search may answer without the shards that are down.")
    max_body_bytes: int = Field(default=16_777_216, ge=1, description="Largest request body.")
    max_k: int = Field(default=1_000, ge=1, description="Most hits of one search.")
    max_batch: int = Field(default=256, ge=1, description="Most searches or documents of one request.")
    cache_ttl_seconds: int = Field(default=3_600, ge=0, description="Life of a cached result; 0 = no cache.")
    cache_bytes: int = Field(default=64 * 1024 * 1024, ge=0, description="Size of the in-process cache.")
    redis_url: SecretStr | None = Field(default=None, description="Shared cache and rate limit; absent = in-process only.")
    requests_per_minute: int | None = Field(default=None, ge=1, description="Per client; absent = unlimited.")
    burst: int | None = Field(default=None, ge=1, description="Requests that may come at once; absent = requests_per_minute.")
    deny_without_redis: bool = Field(default=False, description="Refuse requests while Redis cannot count them.")
    reranker: str | None = Field(default=None, description="Base URL of the re-ranker; absent = none.")
    rerank_candidates: int = Field(default=100, ge=1, description="Hits to order again.")
    rerank_timeout_seconds: float = Field(default=0.2, gt=0, description="The longest that re-ranking may take.")
    port: int = Field(default=API_PORT, description="API port.")


class Check(StrEnum):
    """What the gate before promotion measures."""

    RECALL = "Recall"
    OVERLAP = "Overlap"
    LATENCY = "Latency"
    GOLDEN = "Golden"


class AnalyseSettings(RoleSettings):
    """Role `analyse`: compare a generation that is to serve with the one that does, once."""

    pod: str = Field(description="Name of the pod.")
    namespace: str = Field(description="Namespace of the pod.")
    index: str = Field(description="Name of the VectorIndex.")
    blue: GenerationRoute = Field(description="The generation that serves.")
    green: GenerationRoute = Field(description="The generation that is to serve.")
    checks: tuple[Check, ...] = Field(description="What is measured: `Recall`, `Overlap`, `Latency`, `Golden`.")
    sample_size: int = Field(default=200, ge=1, description="Documents of which queries are made.")
    seed: int = Field(default=0, description="Which documents are drawn: the same seed draws the same ones.")
    golden_path: str = Field(default=f"{GOLDEN_DIR}/{GOLDEN_FILE}", description="File with the golden queries.")
    timeout_seconds: float = Field(default=30.0, gt=0, description="The longest that one question may take, retries included.")
    deadline_seconds: float = Field(
        default=1_800.0, gt=0, description="After this long no further query is made; what was measured counts."
    )


class LocalSettings(RoleSettings):
    """Role `local`: encoder, one shard and gateway in one process, for laptops and application tests."""

    model: str = Field(description="Directory with the model's files, as a hub repository has them (safetensors).")
    data_dir: str = Field(default="search-data", description="Where documents, index and the prepared model are kept.")
    options: ModelOptions = Field(default=ModelOptions(), description="What decides, with the files, the vector space.")
    index_options: IndexOptions = Field(default=IndexOptions(), description="The approximate index.")
    fields: tuple[FieldIndex, ...] = Field(default=(), description="Metadata that filters find by an index.")
    keys_dir: str | None = Field(default=None, description="Where API keys lie, one file a key; absent = open to all.")
    port: int = Field(default=API_PORT, description="API port.")
    host: str = Field(default="127.0.0.1", description="Address to listen on.")
    log_level: str = Field(default="WARNING", description="DEBUG, INFO, WARNING or ERROR.")


def env_name(field: str) -> str:
    """Name of the environment variable of a settings field."""
    return f"{ENV_PREFIX}{field.upper()}"


def to_env(settings: RoleSettings) -> dict[str, str]:
    """Environment that makes a pod parse exactly `settings`; values equal to the default, and secrets, are left out."""
    env: dict[str, str] = {}
    for name, field in type(settings).model_fields.items():
        value: Any = getattr(settings, name)
        if isinstance(value, SecretStr) or value is None or value == field.default:
            continue
        env[env_name(name)] = _encode(value)
    return env


def _encode(value: Any) -> str:
    if isinstance(value, BaseModel):
        return value.model_dump_json(exclude_defaults=False)
    if isinstance(value, tuple | list | dict):
        return orjson.dumps(value, default=_plain).decode()
    if isinstance(value, bool):
        return str(value).lower()
    return str(value)


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    raise TypeError(type(value).__name__)
