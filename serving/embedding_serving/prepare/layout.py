"""The files of one model, as sentence-transformers and transformers lay them out."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from .errors import UnsupportedModelError
from .jsonfile import read_list, read_object
from .selection import CONFIG, MODULES, TOKENIZER, WEIGHT_INDEX, WEIGHTS


@dataclass(frozen=True)
class Module:
    """One step of a sentence-transformers pipeline: its class name without the package, and its directory."""

    kind: str
    directory: Path


@dataclass(frozen=True)
class ModelFiles:
    root: Path
    paths: tuple[str, ...]
    """The selected files, relative to `root`."""
    modules: tuple[Module, ...]
    """Empty where the model has no modules.json."""

    @classmethod
    def read(cls, root: Path, paths: tuple[str, ...]) -> "ModelFiles":
        """Raises UnsupportedModelError where the layout can not be understood."""
        modules = tuple(_module(root, entry) for entry in read_list(root / MODULES)) if MODULES in paths else ()
        if modules and modules[0].kind not in ("Transformer", "CrossEncoder"):
            raise UnsupportedModelError(f"modules.json begins with {modules[0].kind}; only a Transformer can be served")
        return cls(root, paths, modules)

    @property
    def transformer(self) -> Path:
        """Directory with config.json and the encoder's weights."""
        return self.modules[0].directory if self.modules else self.root

    def config(self) -> dict[str, Any]:
        path = self.transformer / CONFIG
        if not path.is_file():
            raise UnsupportedModelError(f"the source holds no {CONFIG}: check repository, revision and path")
        return read_object(path)

    def optional(self, name: str) -> Mapping[str, Any]:
        """A JSON object beside the encoder or at the top; empty where there is none."""
        for directory in (self.transformer, self.root):
            if (directory / name).is_file():
                return read_object(directory / name)
        return {}

    def tokenizer(self) -> Path:
        for directory in (self.transformer, self.root):
            if (directory / TOKENIZER).is_file():
                return directory / TOKENIZER
        raise UnsupportedModelError(
            f"the source holds no {TOKENIZER}: load the tokenizer once with transformers' AutoTokenizer, "
            "save it with save_pretrained and publish the tokenizer.json that it writes"
        )

    def weights(self) -> list[Path]:
        """The encoder's safetensors files, every shard of the index present."""
        return weight_files(self.transformer)


def weight_files(directory: Path) -> list[Path]:
    """The safetensors files of one module. Raises UnsupportedModelError where a shard of the index is missing."""
    if (directory / WEIGHTS).is_file():
        return [directory / WEIGHTS]
    if (directory / WEIGHT_INDEX).is_file():
        listed = read_object(directory / WEIGHT_INDEX).get("weight_map")
        if not isinstance(listed, dict) or not all(isinstance(name, str) for name in listed.values()):
            raise UnsupportedModelError(f"{WEIGHT_INDEX} has no weight_map of tensor to file: repair the file at its source")
        shards = sorted(set(listed.values()))
        for shard in shards:
            if PurePosixPath(shard).name != shard or not (directory / shard).is_file():
                raise UnsupportedModelError(f"{WEIGHT_INDEX} names {shard!r:.80}, which is not there: the upload is incomplete")
        return [directory / shard for shard in shards]
    found = sorted(directory.glob("*.safetensors"))
    if len(found) != 1:
        raise UnsupportedModelError(f"no {WEIGHTS} in {directory.name or 'the source'}: publish the weights under that name")
    return found


def _module(root: Path, entry: Any) -> Module:
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str) or not isinstance(entry.get("path", ""), str):
        raise UnsupportedModelError(f"{MODULES} must list objects with type and path: repair the file at its source")
    package, _, kind = entry["type"].rpartition(".")
    if package and not package.startswith("sentence_transformers."):
        raise UnsupportedModelError(
            f"{MODULES} names the class {entry['type'][:80]}, which is code of the model's author: no code from models is run. "
            "Choose a model made of sentence-transformers' own modules"
        )
    path = PurePosixPath(entry.get("path", ""))
    if path.is_absolute() or ".." in path.parts:
        raise UnsupportedModelError(f"{MODULES} names the directory {str(path)[:80]!r}, outside of the model")
    return Module(kind, root / path)
