"""Every setting of every role, one class a role. The operator renders them with `to_env`; a pod reads them by construction."""

from typing import Any

import orjson
from pydantic import BaseModel, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

from .model import EngineName, ModelOptions, SelfCheck, Source

ENV_PREFIX = "EO_"
API_PORT = 8080
ADMIN_PORT = 8081
WEIGHTS_DIR = "/weights"
SOURCE_DIR = "/source"
TERMINATION_PATH = "/dev/termination-log"


class RoleSettings(BaseSettings):
    """Common to all roles. Nested values are JSON; secrets arrive by `secretKeyRef` and are never rendered here."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    revision: str = Field(description="Name of the model revision, 8 hex digits.", pattern="^[0-9a-f]{8}$")
    expected_fingerprint: str | None = Field(
        default=None, description="Fingerprint that the revision is known to have; a pod with another refuses to serve."
    )
    weights_dir: str = Field(default=WEIGHTS_DIR, description="Where prepared models lie, one directory a fingerprint.")
    termination_path: str = Field(default=TERMINATION_PATH, description="Where the last report goes for the operator to read.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")


class PrepareSettings(RoleSettings):
    """Role `prepare`: fetch, verify and convert a model once."""

    source: Source = Field(description="Where the model's files come from.")
    options: ModelOptions = Field(default=ModelOptions(), description="What decides, with the files, the vector space.")
    engine: EngineName = Field(default=EngineName.AUTO, description="Engine to convert for.")
    hub_endpoint: str | None = Field(default=None, description="URL of the hub; absent = the client's own default.")
    hub_token: SecretStr | None = Field(default=None, description="Access token, sent to the hub's URL alone.")
    http_allowed_hosts: tuple[str, ...] = Field(
        default=(), description="Hosts that an `http` source may name; empty = any but loopback and link-local."
    )


class EmbedSettings(RoleSettings):
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
        return orjson.dumps(value).decode()
    return str(value)
