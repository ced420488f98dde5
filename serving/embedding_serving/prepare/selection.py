"""Which files of a model's repository are needed: safetensors, configuration, tokenizer, pooling; nothing else is fetched.

The same choice is made over a hub's listing, a mounted directory and the members of a tar.
"""

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

from .errors import UnsafeWeightsError, UnsupportedModelError

MODULES = "modules.json"
CONFIG = "config.json"
WEIGHT_INDEX = "model.safetensors.index.json"
WEIGHTS = "model.safetensors"
TOKENIZER = "tokenizer.json"

_SMALL_FILES = (
    CONFIG,
    MODULES,
    "config_sentence_transformers.json",
    "sentence_bert_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
)
_MODULE_DIRECTORY = re.compile(r"\d+_[A-Za-z]+")
"""`1_Pooling`, `2_Dense`, …: how sentence-transformers names the directory of a module."""
_SHARD = re.compile(r"model-\d+-of-\d+\.safetensors")
_UNSAFE_SUFFIXES = (
    ".bin",
    ".pt",
    ".pth",
    ".pkl",
    ".pickle",
    ".ckpt",
    ".h5",
    ".msgpack",
    ".npz",
    ".joblib",
    ".onnx",
    ".gguf",
)
_PICKLES = (".bin", ".pt", ".pth", ".pkl", ".pickle", ".ckpt", ".joblib")


def select(paths: Iterable[str]) -> list[str]:
    """The wanted ones of `paths` (relative, with `/`), sorted.

    Raises UnsafeWeightsError where there are weights but none in safetensors, UnsupportedModelError where there are none.
    """
    names = set(paths)
    chosen: list[str] = []
    for directory in sorted({_module_directory(name) for name in names} - {None}, key=str):
        inside = {
            name.removeprefix(f"{directory}/" if directory else "") for name in names if _module_directory(name) == directory
        }
        chosen += [f"{directory}/{name}" if directory else name for name in _select_in(inside)]
    if not any(name.endswith(".safetensors") for name in chosen):
        _refuse_without_safetensors(names)
    return sorted(chosen)


def _module_directory(path: str) -> str | None:
    """The module that a file belongs to: "" at the top, None for files that no module owns."""
    parent = PurePosixPath(path).parent
    if parent == PurePosixPath("."):
        return ""
    if len(parent.parts) == 1 and _MODULE_DIRECTORY.fullmatch(parent.name):
        return parent.name
    return None


def _select_in(names: set[str]) -> list[str]:
    chosen = [name for name in _SMALL_FILES if name in names]
    if WEIGHTS in names:
        return [*chosen, WEIGHTS]
    if WEIGHT_INDEX in names:
        return [*chosen, WEIGHT_INDEX, *(name for name in names if _SHARD.fullmatch(name))]
    loose = [name for name in names if name.endswith(".safetensors") and not name.startswith("adapter_")]
    return chosen + (loose if len(loose) == 1 else [])


def _refuse_without_safetensors(names: set[str]) -> None:
    if any(PurePosixPath(name).name == "adapter_model.safetensors" for name in names):
        raise UnsupportedModelError(
            "the source holds an adapter (adapter_model.safetensors) without its base model: "
            "merge the adapter into the base model and publish the merged model.safetensors"
        )
    unsafe = sorted(name for name in names if name.endswith(_UNSAFE_SUFFIXES))
    unsafe.sort(key=lambda name: (not name.endswith(_PICKLES), "/" in name))
    if unsafe:
        raise UnsafeWeightsError(
            f"the source holds no safetensors weights, only {unsafe[0]}{_and_more(unsafe)}: weights are read from safetensors "
            "alone, because other formats can run code when loaded. Convert once with transformers' "
            "save_pretrained(safe_serialization=True) and publish model.safetensors, or pin a revision that has it"
        )
    if not names:
        raise UnsupportedModelError("the source is empty: it holds no file at all. Check its path")
    raise UnsupportedModelError(
        f"the source holds no weights: expected {WEIGHTS} (or {WEIGHT_INDEX} with its shards) beside {CONFIG}, "
        f"found {', '.join(sorted(names)[:5])}{_and_more(sorted(names), 5)}. Check repository, revision and path"
    )


def _and_more(names: list[str], shown: int = 1) -> str:
    return f" and {len(names) - shown} more" if len(names) > shown else ""
