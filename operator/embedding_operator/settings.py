"""Every setting of the operator, read from the environment once, at start."""

import platform
import secrets
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


class OperatorSettings(BaseSettings):
    """Settings of `python -m embedding_operator run`, each from `EO_OPERATOR_<NAME>`."""

    model_config = SettingsConfigDict(env_prefix="EO_OPERATOR_", frozen=True, extra="ignore")

    namespace: str = Field(default="default", description="Namespace of the operator: its Lease lies here.")
    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(), description="Namespaces to act in, separated by commas; empty = the whole cluster."
    )
    pod_name: str = Field(default="", description="Identity of this replica in the Lease; empty = one made up for this run.")
    lease_name: str = Field(default="embedding-operator", description="Name of the Lease that elects the leader.")
    admin_key_name: str = Field(
        default="embedding-operator-admin-key",
        description="Name of the Secret with the key that signs commands to pods; it is made where it is missing.",
    )
    lease_seconds: int = Field(default=15, ge=3, description="Life of the Lease without renewal.")
    renew_seconds: int = Field(default=10, ge=2, description="The leader stops acting when it could not renew for this long.")
    retry_seconds: int = Field(default=2, ge=1, description="Pause between attempts on the Lease.")

    serving_image: str = Field(default="localhost/embedding-serving:latest", description="Image of CPU pods.")
    serving_torch_image: str = Field(
        default="", description="Image of pods that need torch (GPU); empty = such models are refused with a reason."
    )
    image_pull_policy: str = Field(default="IfNotPresent", description="Pull policy of the pods' images.")
    hub_endpoint: str = Field(default="", description="URL of the model hub; empty = the hub client's own default.")
    http_allowed_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Hosts that `http` sources may name, separated by commas; empty = any public or private host.",
    )

    max_concurrent_rebuilds: int = Field(
        default=4, ge=0, description="Rebuilds of all indexes that run at the same time; 0 = no limit."
    )
    concurrency: int = Field(default=8, ge=1, description="Objects reconciled at the same time.")
    resync_seconds: float = Field(default=600, gt=0, description="Every object is looked at again this often.")
    request_seconds: float = Field(default=4, gt=0, description="Deadline of one call to the API server.")
    health_port: int = Field(default=8080, description="Port of /healthz (kopf's liveness endpoint).")
    metrics_port: int = Field(default=8081, description="Port of /metrics.")
    log_level: str = Field(default="INFO", description="DEBUG, INFO, WARNING or ERROR.")

    @model_validator(mode="after")
    def _fenced(self) -> Self:
        if self.renew_seconds + self.request_seconds >= self.lease_seconds:
            raise ValueError("renew_seconds + request_seconds must be less than lease_seconds: a last write must land in time")
        return self

    def identified(self) -> Self:
        """With an identity that no other process has."""
        return self if self.pod_name else self.model_copy(update={"pod_name": f"{platform.node()}-{secrets.token_hex(4)}"})

    @field_validator("watch_namespaces", "http_allowed_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value
