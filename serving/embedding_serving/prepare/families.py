"""The encoder families that are converted without torch: how each names its tensors and its configuration."""

from dataclasses import dataclass, field
from types import MappingProxyType


@dataclass(frozen=True)
class LayerNames:
    """Tensor names inside one transformer layer, without `.weight` and `.bias`; `{}` is the layer's number."""

    query: str
    key: str
    value: str
    attention_output: str
    attention_norm: str
    up: str
    down: str
    norm: str


@dataclass(frozen=True)
class HeadNames:
    """The classification head of a re-ranker: first token -> dense -> activation -> one number."""

    dense: str
    dense_in_base: bool
    """Whether the dense layer lies in the base model (BERT's pooler) or beside it."""
    activation: str
    output: str


@dataclass(frozen=True)
class Family:
    model_type: str
    base: str
    """Prefix of the base model's tensors where the architecture wraps it."""
    encoder_architectures: tuple[str, ...]
    reranker_architectures: tuple[str, ...]
    layer: LayerNames
    head: HeadNames
    positions_skip_padding: bool
    """Whether positions are counted from `pad_token_id + 1` over the tokens that are no padding (fairseq's way)."""
    has_token_types: bool
    has_relative_positions: bool = False
    may_project_embeddings: bool = False
    config_names: MappingProxyType[str, str] = field(default_factory=lambda: MappingProxyType({}))
    """Names of configuration keys that differ from BERT's."""


def _bert_layer(root: str = "encoder.layer.{}") -> LayerNames:
    return LayerNames(
        query=f"{root}.attention.self.query",
        key=f"{root}.attention.self.key",
        value=f"{root}.attention.self.value",
        attention_output=f"{root}.attention.output.dense",
        attention_norm=f"{root}.attention.output.LayerNorm",
        up=f"{root}.intermediate.dense",
        down=f"{root}.output.dense",
        norm=f"{root}.output.LayerNorm",
    )


_CLASSIFIER = HeadNames(dense="classifier.dense", dense_in_base=False, activation="tanh", output="classifier.out_proj")


def _roberta_like(model_type: str, name: str) -> Family:
    return Family(
        model_type=model_type,
        base="roberta",
        encoder_architectures=(f"{name}Model", f"{name}ForMaskedLM"),
        reranker_architectures=(f"{name}ForSequenceClassification",),
        layer=_bert_layer(),
        head=_CLASSIFIER,
        positions_skip_padding=True,
        has_token_types=True,
    )


_FAMILIES = (
    Family(
        model_type="bert",
        base="bert",
        encoder_architectures=("BertModel", "BertForMaskedLM", "BertForPreTraining"),
        reranker_architectures=("BertForSequenceClassification",),
        layer=_bert_layer(),
        head=HeadNames(dense="pooler.dense", dense_in_base=True, activation="tanh", output="classifier"),
        positions_skip_padding=False,
        has_token_types=True,
    ),
    _roberta_like("roberta", "Roberta"),
    _roberta_like("xlm-roberta", "XLMRoberta"),
    _roberta_like("camembert", "Camembert"),
    Family(
        model_type="distilbert",
        base="distilbert",
        encoder_architectures=("DistilBertModel", "DistilBertForMaskedLM"),
        reranker_architectures=("DistilBertForSequenceClassification",),
        layer=LayerNames(
            query="transformer.layer.{}.attention.q_lin",
            key="transformer.layer.{}.attention.k_lin",
            value="transformer.layer.{}.attention.v_lin",
            attention_output="transformer.layer.{}.attention.out_lin",
            attention_norm="transformer.layer.{}.sa_layer_norm",
            up="transformer.layer.{}.ffn.lin1",
            down="transformer.layer.{}.ffn.lin2",
            norm="transformer.layer.{}.output_layer_norm",
        ),
        head=HeadNames(dense="pre_classifier", dense_in_base=False, activation="relu", output="classifier"),
        positions_skip_padding=False,
        has_token_types=False,
        config_names=MappingProxyType(
            {
                "hidden_size": "dim",
                "num_hidden_layers": "n_layers",
                "num_attention_heads": "n_heads",
                "intermediate_size": "hidden_dim",
                "hidden_act": "activation",
            }
        ),
    ),
    Family(
        model_type="mpnet",
        base="mpnet",
        encoder_architectures=("MPNetModel", "MPNetForMaskedLM"),
        reranker_architectures=("MPNetForSequenceClassification",),
        layer=LayerNames(
            query="encoder.layer.{}.attention.attn.q",
            key="encoder.layer.{}.attention.attn.k",
            value="encoder.layer.{}.attention.attn.v",
            attention_output="encoder.layer.{}.attention.attn.o",
            attention_norm="encoder.layer.{}.attention.LayerNorm",
            up="encoder.layer.{}.intermediate.dense",
            down="encoder.layer.{}.output.dense",
            norm="encoder.layer.{}.output.LayerNorm",
        ),
        head=_CLASSIFIER,
        positions_skip_padding=True,
        has_token_types=False,
        has_relative_positions=True,
    ),
    Family(
        model_type="electra",
        base="electra",
        encoder_architectures=("ElectraModel", "ElectraForPreTraining"),
        reranker_architectures=("ElectraForSequenceClassification",),
        layer=_bert_layer(),
        head=HeadNames(dense="classifier.dense", dense_in_base=False, activation="gelu", output="classifier.out_proj"),
        positions_skip_padding=False,
        has_token_types=True,
        may_project_embeddings=True,
    ),
)

FAMILIES = MappingProxyType({family.model_type: family for family in _FAMILIES})

TORCH_FAMILIES = MappingProxyType(
    {
        "albert": False,
        "deberta-v2": False,
        "gemma3_text": True,
        "llama": True,
        "mistral": True,
        "modernbert": False,
        "qwen2": True,
        "qwen3": True,
    }
)
"""Families that torch serves from the files as published, and whether each is a decoder (its last token is the vector)."""
