"""Turns the spec's choices and the model's own files into one exact recipe: every `Auto` is gone afterwards.

Where the spec says nothing, the model's sentence-transformers files decide; where those are missing, the architecture:
encoders pool by mean, decoders by last token, and vectors stay as they are, which is what sentence-transformers does.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embedding_serving.contract.model import ModelOptions, Normalize, Pooling, Task

from .encoder import EncoderConfig
from .errors import UnsupportedModelError
from .families import FAMILIES, TORCH_FAMILIES, Family
from .jsonfile import read_object
from .layout import ModelFiles, Module, weight_files
from .selection import CONFIG
from .tensors import Tensors

_POOLINGS = {"mean": Pooling.MEAN, "cls": Pooling.CLS, "lasttoken": Pooling.LAST_TOKEN}
_LEGACY_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_lasttoken": "lasttoken",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
}
_DENSE_ACTIVATIONS = {"Identity": "identity", "Tanh": "tanh", "ReLU": "relu", "GELU": "gelu", "SiLU": "silu"}
_UNSET_LENGTH = 1_000_000
"""Tokenizers without a limit state a huge one."""
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


@dataclass(frozen=True, eq=False)
class Projection:
    """A dense layer after the pooling (LaBSE, distiluse)."""

    tensors: Tensors
    activation: str

    def linear(self) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """(weight float32 [out, in], bias float32 [out] or None)."""
        bias = self.tensors.read("linear.bias") if "linear.bias" in self.tensors else None
        return self.tensors.read("linear.weight"), bias

    @property
    def outputs(self) -> int:
        return self.tensors.shape("linear.weight")[0]


@dataclass(frozen=True, eq=False)
class Recipe:
    """How token ids become a vector or a score."""

    architecture: str
    family: Family | None
    """None where only torch can serve the model."""
    encoder: EncoderConfig | None
    task: Task
    pooling: Pooling
    normalize: Normalize
    projections: tuple[Projection, ...]
    dimensions: int
    """Length of the vector; 1 for a re-ranker."""
    max_tokens: int
    query_prefix: str
    document_prefix: str
    lowercase: bool
    """Whether texts are lowercased before the tokenizer sees them (sentence-transformers' own switch)."""


def resolve(files: ModelFiles, options: ModelOptions) -> Recipe:
    """Raises UnsupportedModelError where the model, or what the spec asks of it, can not be served."""
    config = files.config()
    _refuse_custom_code(config)
    architecture, family, decoder = _architecture(config, options.task)
    encoder = EncoderConfig.read(config, family) if family else None
    pipeline = _Pipeline.read(files, options)
    native = pipeline.projections[-1].outputs if pipeline.projections else _hidden(config, encoder)
    query_prefix, document_prefix = _prefixes(files, options)
    transformer_settings = files.optional("sentence_bert_config.json")
    rerank = options.task is Task.RERANK
    if rerank and (options.dimensions or options.pooling is not Pooling.AUTO or options.normalize is not Normalize.AUTO):
        raise UnsupportedModelError(
            "dimensions, pooling and normalize have no meaning for task Rerank: remove them from spec.model"
        )
    default_pooling = Pooling.LAST_TOKEN if decoder else Pooling.MEAN
    return Recipe(
        architecture=architecture,
        family=family,
        encoder=encoder,
        task=options.task,
        pooling=Pooling.CLS if rerank else pipeline.pooling or default_pooling,
        normalize=Normalize.NEVER if rerank or not pipeline.normalize else Normalize.ALWAYS,
        projections=() if rerank else pipeline.projections,
        dimensions=1 if rerank else _dimensions(native, options),
        max_tokens=_max_tokens(files, config, encoder, transformer_settings, options),
        query_prefix=query_prefix,
        document_prefix=document_prefix,
        lowercase=transformer_settings.get("do_lower_case") is True,
    )


def refuse_early(files: ModelFiles, options: ModelOptions) -> tuple[str, Family | None]:
    """(architecture, family or None for torch), from the small files alone, before gigabytes of weights are fetched.

    Raises UnsupportedModelError for what shows there already.
    """
    config = files.config()
    _refuse_custom_code(config)
    architecture, family, _ = _architecture(config, options.task)
    if family:
        EncoderConfig.read(config, family)
    files.tokenizer()
    return architecture, family


def _refuse_custom_code(config: Mapping[str, Any]) -> None:
    if config.get("auto_map"):
        raise UnsupportedModelError(
            "config.json has auto_map: the model needs Python code of its author, and no code from models is run. "
            "Choose a model of a built-in architecture, or a conversion of this one without auto_map"
        )
    if config.get("quantization_config"):
        raise UnsupportedModelError(
            "config.json has quantization_config: weights that are quantised already are not supported. "
            "Use the model's full-precision weights and set spec.model.precision"
        )


def _architecture(config: Mapping[str, Any], task: Task) -> tuple[str, Family | None, bool]:
    """(architecture, family or None for torch, whether it is a decoder)."""
    model_type = config.get("model_type")
    listed = config.get("architectures")
    name = listed[0] if isinstance(listed, list) and listed and isinstance(listed[0], str) else None
    family = FAMILIES.get(model_type) if isinstance(model_type, str) else None
    if family is None and model_type not in TORCH_FAMILIES:
        raise UnsupportedModelError(
            f"architecture {name or 'unknown'} (model_type {model_type!r:.40}) is not supported. "
            f"Supported without torch: {', '.join(sorted(FAMILIES))}; "
            f"with runtime.engine Torch: {', '.join(sorted(TORCH_FAMILIES))}"
        )
    if family is None:
        architecture = name or str(model_type)
        known = task is Task.EMBED or architecture.endswith("ForSequenceClassification")
        expected: tuple[str, ...] = ("…ForSequenceClassification",)
    else:
        expected = family.reranker_architectures if task is Task.RERANK else family.encoder_architectures
        architecture = name or expected[0]
        known = architecture in expected
    if not known:
        other = Task.EMBED if task is Task.RERANK else Task.RERANK
        raise UnsupportedModelError(
            f"architecture {architecture[:80]} does not fit task {task}: expected {' or '.join(expected)}. "
            f"Set spec.model.task to {other} if that is what the model is for, or choose another model"
        )
    return architecture, family, bool(TORCH_FAMILIES.get(str(model_type), False))


def _hidden(config: Mapping[str, Any], encoder: EncoderConfig | None) -> int:
    if encoder:
        return encoder.hidden
    hidden = config.get("hidden_size")
    if not isinstance(hidden, int) or hidden < 1:
        raise UnsupportedModelError("config.json: hidden_size must be a whole number above 0")
    return hidden


@dataclass(frozen=True, eq=False)
class _Pipeline:
    """What follows the encoder."""

    pooling: Pooling | None
    normalize: bool
    projections: tuple[Projection, ...]

    @classmethod
    def read(cls, files: ModelFiles, options: ModelOptions) -> "_Pipeline":
        pooling: Pooling | None = None if options.pooling is Pooling.AUTO else options.pooling
        normalize = False
        projections: list[Projection] = []
        for module in files.modules[1:]:
            if module.kind == "Pooling":
                pooling = pooling or _pooling(module)
            elif module.kind == "Dense":
                projections.append(_projection(module))
            elif module.kind == "Normalize":
                normalize = True
            elif module.kind != "Dropout":
                raise UnsupportedModelError(
                    f"modules.json has the step {module.kind}, which is not supported; supported after the Transformer are "
                    "Pooling, Dense, Normalize"
                )
        if options.normalize is not Normalize.AUTO:
            normalize = options.normalize is Normalize.ALWAYS
        return cls(pooling, normalize, tuple(projections))


def _pooling(module: Module) -> Pooling:
    config = read_object(module.directory / CONFIG) if (module.directory / CONFIG).is_file() else {}
    mode = config.get("pooling_mode") or [word for key, word in _LEGACY_POOLINGS.items() if config.get(key) is True]
    modes = mode if isinstance(mode, list) else [mode]
    if len(modes) == 1 and modes[0] in _POOLINGS:
        return _POOLINGS[modes[0]]
    raise UnsupportedModelError(
        f"the model pools by {' + '.join(map(str, modes))[:80] or 'nothing'}, which is not supported; supported are mean, "
        "cls and lasttoken. Set spec.model.pooling to one of Mean, CLS, LastToken if the model was trained with it"
    )


def _projection(module: Module) -> Projection:
    config = read_object(module.directory / CONFIG) if (module.directory / CONFIG).is_file() else {}
    name = str(config.get("activation_function", "torch.nn.modules.activation.Tanh"))
    activation = _DENSE_ACTIVATIONS.get(name.rpartition(".")[2]) if name.startswith("torch.nn.") else None
    if activation is None or config.get("use_residual"):
        residual = " and residual" if config.get("use_residual") else ""
        raise UnsupportedModelError(
            f"{module.directory.name}: a dense step with activation {name[:80]!r}{residual} is not supported; "
            f"supported activations are {', '.join(_DENSE_ACTIVATIONS)}, without residual"
        )
    projection = Projection(Tensors(weight_files(module.directory)), activation)
    if len(projection.tensors.shape("linear.weight")) != 2:
        raise UnsupportedModelError(f"{module.directory.name}: linear.weight is no matrix")
    if "linear.bias" in projection.tensors:
        projection.tensors.check("linear.bias", (projection.outputs,))
    return projection


def _dimensions(native: int, options: ModelOptions) -> int:
    if options.dimensions is None:
        return native
    if options.dimensions > native:
        raise UnsupportedModelError(
            f"spec.model.dimensions is {options.dimensions}, but the model's vectors have {native}: set {native} or less"
        )
    return options.dimensions


def _max_tokens(
    files: ModelFiles,
    config: Mapping[str, Any],
    encoder: EncoderConfig | None,
    transformer_settings: Mapping[str, Any],
    options: ModelOptions,
) -> int:
    limit = encoder.position_limit if encoder else config.get("max_position_embeddings")
    if not isinstance(limit, int) or limit < 1:
        raise UnsupportedModelError("config.json: max_position_embeddings must be a whole number above 0")
    if options.max_tokens is not None:
        if options.max_tokens > limit:
            raise UnsupportedModelError(f"spec.model.maxTokens is {options.max_tokens}, but the model takes at most {limit}")
        return options.max_tokens
    own = transformer_settings.get("max_seq_length")
    if not isinstance(own, int) or own < 1:
        own = files.optional("tokenizer_config.json").get("model_max_length")
    if not isinstance(own, int | float) or not 1 <= own < _UNSET_LENGTH:
        own = limit
    return min(int(own), limit)


def _prefixes(files: ModelFiles, options: ModelOptions) -> tuple[str, str]:
    """The spec's prefixes; where it gives none, the prompts that sentence-transformers would use for queries and documents."""
    if options.task is Task.RERANK:
        return options.query_prefix or "", options.document_prefix or ""
    settings = files.optional("config_sentence_transformers.json")
    stated = settings.get("prompts")
    prompts = {key: text for key, text in stated.items() if isinstance(text, str)} if isinstance(stated, dict) else {}
    default = prompts.get(str(settings.get("default_prompt_name")), "")
    document = next((prompts[name] for name in _DOCUMENT_PROMPTS if name in prompts), default)
    query = prompts.get("query", default)
    return (
        query if options.query_prefix is None else options.query_prefix,
        document if options.document_prefix is None else options.document_prefix,
    )
