"""A model as a pod sees it: where its files come from, and what decides its vector space."""

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field


class Task(StrEnum):
    EMBED = "Embed"
    RERANK = "Rerank"


class Pooling(StrEnum):
    AUTO = "Auto"
    MEAN = "Mean"
    CLS = "CLS"
    LAST_TOKEN = "LastToken"  # noqa: S105 - a pooling mode, not a secret


class Normalize(StrEnum):
    AUTO = "Auto"
    ALWAYS = "Always"
    NEVER = "Never"


class Precision(StrEnum):
    FLOAT32 = "Float32"
    BFLOAT16 = "BFloat16"
    FLOAT16 = "Float16"
    INT8 = "Int8"


class EngineName(StrEnum):
    AUTO = "Auto"
    ONNX_RUNTIME = "ONNXRuntime"
    OPENVINO = "OpenVINO"
    TORCH = "Torch"
    TRITON = "Triton"


class SelfCheck(StrEnum):
    """What a failed comparison with the fp32 reference means: refuse to serve, or serve and say so."""

    ENFORCE = "Enforce"
    WARN = "Warn"


class Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class HubSource(Frozen):
    """A repository on a server that speaks the Hugging Face hub's HTTP API, pinned to one commit."""

    kind: Literal["huggingFace"] = "huggingFace"
    repo: str
    revision: str = Field(pattern="^[0-9a-f]{40}$")


class DirectorySource(Frozen):
    """Files that already lie in a mounted directory: a claim, or what an init container copied from an image."""

    kind: Literal["directory"] = "directory"
    path: str


class HTTPSource(Frozen):
    """A tar archive (optionally compressed) behind a URL, pinned by its SHA-256."""

    kind: Literal["http"] = "http"
    url: str
    sha256: str = Field(pattern="^[0-9a-f]{64}$")


Source = Annotated[HubSource | DirectorySource | HTTPSource, Field(discriminator="kind")]


class ModelOptions(Frozen):
    """The choices of `spec.model` that, with the files, decide the vector space."""

    task: Task = Task.EMBED
    pooling: Pooling = Pooling.AUTO
    normalize: Normalize = Normalize.AUTO
    dimensions: int | None = Field(default=None, ge=1, description="Length to cut vectors to; absent = the model's.")
    max_tokens: int | None = Field(default=None, ge=1, description="Truncate texts to this length; absent = the model's.")
    query_prefix: str | None = Field(default=None, description="Put before queries; absent = the model's, empty = none.")
    document_prefix: str | None = Field(default=None, description="Put before documents; absent = the model's, empty = none.")
    precision: Precision = Precision.FLOAT32
