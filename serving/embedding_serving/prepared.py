"""A prepared model on disk: what `prepare` leaves behind and `embed` serves from, read-only.

<weights_dir>/revisions/<revision>.json   pointer: the fingerprint of a revision
<weights_dir>/<fingerprint>/model.json    this manifest, written last
                           /tokenizer.json    without truncation and padding; special tokens and pairs as the model's
                           /onnx/model.onnx   input_ids, attention_mask, token_type_ids (int64 [n, L], padded on the right)
                                              -> embeddings (float32 [n, dim], pooled and normalised)
                                              or scores (float32 [n], raw logits) of a re-ranker
                           /onnx/model.onnx.data   its weights; load the model by its path
                           /torch/            config.json and *.safetensors as the model's author published them
                           /reference.npy     float32 [len(PROBES), dim] (re-ranker: [len(PROBES)]), the fp32 truth
"""

from pathlib import Path

from pydantic import ConfigDict, Field

from .contract.model import EngineName, Frozen, Normalize, Pooling, Precision, Task

MANIFEST = "model.json"
TOKENIZER = "tokenizer.json"
ONNX_MODEL = "onnx/model.onnx"
TORCH_DIR = "torch"
REFERENCE = "reference.npy"

PROBES: tuple[str, ...] = (
    "A cat sleeps on the warm stones by the harbour.",
    "The quarterly report shows that revenue grew by four percent.",
    "Wie wird eine verteilte Datenbank gesichert?",
    "東京の天気は明日も晴れるでしょう。",
    "def add(a, b): return a + b",
    "short",
    "Replication lag is the time between a commit on the writer and its visibility on a reader, and it is bounded by "
    "the network, by the disk of the reader, and by how long a page takes to apply. " * 4,
)
"""Texts of the self-check: short and long, several scripts, code. They are encoded as they are, without prefix, and truncated
to `max_tokens`. A re-ranker scores each as the document of a pair whose query is the first."""


class PreparedModel(Frozen):
    """Manifest of one prepared model. Every `Auto` of the spec is resolved here."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    format: int = 1
    fingerprint: str
    task: Task
    architecture: str
    dimensions: int
    max_tokens: int
    pooling: Pooling
    normalize: Normalize
    query_prefix: str
    document_prefix: str
    precision: Precision
    engines: tuple[EngineName, ...]
    """Engines that this directory holds files for."""
    considered: tuple[EngineName, ...] = ()
    """Engines that were asked for; one that is here but not in `engines` can't serve this model."""
    files: dict[str, str]
    """SHA-256 of every file, by path relative to the directory."""
    sizes: dict[str, int] = Field(default_factory=dict)
    """Bytes of every file, by the same paths."""

    @classmethod
    def load(cls, directory: Path) -> "PreparedModel":
        """Reads `directory/model.json`. Raises OSError where it is missing, ValidationError where it is not ours."""
        return cls.model_validate_json((directory / MANIFEST).read_bytes())


class RevisionPointer(Frozen):
    fingerprint: str


def pointer_path(weights_dir: Path, revision: str) -> Path:
    return weights_dir / "revisions" / f"{revision}.json"


def locate(weights_dir: Path, revision: str) -> Path:
    """Directory of the prepared model of a revision. Raises OSError where nothing is prepared."""
    pointer = RevisionPointer.model_validate_json(pointer_path(weights_dir, revision).read_bytes())
    return weights_dir / pointer.fingerprint
