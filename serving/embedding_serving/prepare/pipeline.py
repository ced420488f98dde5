"""The whole of `prepare`, in the order in which it happens."""

import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from embedding_serving.contract.model import EngineName, Precision, Task
from embedding_serving.contract.settings import PrepareSettings
from embedding_serving.prepared import ONNX_MODEL, REFERENCE, TOKENIZER, TORCH_DIR, PreparedModel, locate

from . import text
from .disk import explain, require_space
from .encoder import EncoderWeights
from .engines import CPU_ENGINES, torch_installed, wanted_engines
from .errors import FingerprintMismatchError, UnsupportedModelError
from .fingerprint import fingerprint
from .graph import write_onnx
from .layout import ModelFiles
from .reference import reference
from .resolve import Recipe, refuse_early, resolve
from .sources import fetch, source_key
from .tensors import Tensors
from .volume import FORMAT, Workspace, clear_download, hash_file, intact, point, publish, workspace

log = logging.getLogger(__name__)


def prepare(settings: PrepareSettings, with_torch: bool | None = None) -> PreparedModel:
    """Leaves the model of `settings` on the volume and returns its manifest; at once where it is there already.

    Raises PrepareError with what to do next.
    """
    with_torch = torch_installed() if with_torch is None else with_torch
    wanted = wanted_engines(settings.engine, with_torch)
    weights_dir = Path(settings.weights_dir)
    if done := _already(settings, wanted):
        return done
    try:
        with workspace(weights_dir, source_key(settings)) as space:
            if done := _already(settings, wanted):  # by the pod that held the lock
                return done
            manifest = _prepare(settings, wanted, with_torch, space)
            clear_download(space)
            return manifest
    except OSError as error:
        raise explain(error, weights_dir) from error


def _already(settings: PrepareSettings, wanted: frozenset[EngineName]) -> PreparedModel | None:
    try:
        directory = locate(Path(settings.weights_dir), settings.revision)
    except (OSError, ValueError):
        return None
    manifest = intact(directory, wanted)
    if manifest is None:
        return None
    _check_expected(settings, manifest.fingerprint)
    log.info("prepared already", extra={"fingerprint": manifest.fingerprint})
    return manifest


def _prepare(settings: PrepareSettings, wanted: frozenset[EngineName], with_torch: bool, space: Workspace) -> PreparedModel:
    weights_dir = Path(settings.weights_dir)

    def inspect(files: ModelFiles) -> None:
        architecture, family = refuse_early(files, settings.options)
        if family is None and wanted <= CPU_ENGINES:
            raise UnsupportedModelError(_torch_alone(architecture, with_torch))

    fetched = fetch(settings, space.download, inspect)
    model = _Model.read(ModelFiles.read(fetched.root, fetched.paths), settings)
    identity = fingerprint(model.recipe, model.config, model.tokenizer, model.tensors, settings.options.precision)
    _check_expected(settings, identity)
    if existing := intact(weights_dir / identity, wanted):
        log.info("the same content is prepared already", extra={"fingerprint": identity})
        point(weights_dir, settings.revision, identity)
        return existing
    engines = _possible(model, settings.options.precision, wanted, with_torch)
    _check_space(weights_dir, model, engines)
    started = time.monotonic()
    _build(space, model, engines, settings.options.precision)
    manifest = _manifest(space.build, model, identity, settings.options.precision, engines, wanted)
    manifest = publish(space.build, weights_dir, manifest)
    point(weights_dir, settings.revision, identity)
    log.info("converted", extra={"fingerprint": identity, "seconds": round(time.monotonic() - started, 1)})
    return manifest


@dataclass(frozen=True, eq=False)
class _Model:
    files: ModelFiles
    config: dict[str, Any]
    recipe: Recipe
    tokenizer: dict[str, Any]
    tensors: Tensors
    weights: EncoderWeights | None
    """None where only torch knows the architecture."""

    @classmethod
    def read(cls, files: ModelFiles, settings: PrepareSettings) -> "_Model":
        """Raises UnsupportedModelError where anything in the files is missing, broken or contradicts the rest."""
        recipe = resolve(files, settings.options)
        tensors = Tensors(files.weights())
        rerank = recipe.task is Task.RERANK
        weights = EncoderWeights(recipe.encoder, tensors, rerank) if recipe.encoder else None
        _check_projections(recipe)
        return cls(files, files.config(), recipe, text.tokenizer_document(files, recipe), tensors, weights)


def _check_projections(recipe: Recipe) -> None:
    width = recipe.encoder.hidden if recipe.encoder else None
    for projection in recipe.projections:
        if width is not None:
            projection.tensors.check("linear.weight", (projection.outputs, width))
        width = projection.outputs


def _possible(model: _Model, precision: Precision, wanted: frozenset[EngineName], with_torch: bool) -> frozenset[EngineName]:
    """The wanted engines that can serve this model. Raises UnsupportedModelError where none can."""
    recipe = model.recipe
    refusals: list[str] = []
    possible = wanted
    if recipe.family is None:
        possible -= CPU_ENGINES
        refusals.append(_torch_alone(recipe.architecture, with_torch))
    if recipe.projections:
        possible -= {EngineName.TORCH}
        refusals.append("the model has dense steps after pooling, which engine Torch does not run: set runtime.engine Auto")
    if precision is Precision.INT8:
        possible -= {EngineName.TORCH}
        refusals.append("precision Int8 is for the CPU engines: set precision BFloat16, or runtime.engine Auto")
    if not possible:
        raise UnsupportedModelError("; ".join(refusals))
    return possible


def _torch_alone(architecture: str, with_torch: bool) -> str:
    image = "" if with_torch else " and a GPU, whose pods run the torch image"
    return f"architecture {architecture} is served by torch alone: set runtime.engine Torch{image}"


def _check_expected(settings: PrepareSettings, identity: str) -> None:
    known = settings.expected_fingerprint
    if known is not None and known != identity:
        raise FingerprintMismatchError(
            f"the source now has fingerprint {identity[:12]}, but this revision is known as {known[:12]}: files behind "
            "the same path were changed. Restore them, or give the new files a new path or digest in spec.model"
        )


def _build(space: Workspace, model: _Model, engines: frozenset[EngineName], precision: Precision) -> None:
    build = space.build
    text.write(model.tokenizer, build / TOKENIZER)
    if engines & CPU_ENGINES:
        (build / ONNX_MODEL).parent.mkdir()
        assert model.weights is not None  # noqa: S101 - an engine of the CPU is possible only with a known family
        write_onnx(build / ONNX_MODEL, model.recipe, model.weights, int8=precision is Precision.INT8)
    if EngineName.TORCH in engines:
        _place_torch(model, build / TORCH_DIR, ours=model.files.root.is_relative_to(space.download))
    np.save(build / REFERENCE, _reference(model))


def _reference(model: _Model) -> Any:
    probes = text.probe_ids(model.tokenizer, model.recipe)
    if model.weights:
        return reference(model.recipe, model.weights, probes)
    from .torch_reference import torch_reference

    return torch_reference(model.files.transformer, model.recipe, probes)


def _place_torch(model: _Model, target: Path, ours: bool) -> None:
    """The files as published. Only a download is linked: a claim's owner may still write to the files on it."""
    target.mkdir()
    source = model.files.transformer
    for path in [source / "config.json", *model.files.weights(), *source.glob("*.safetensors.index.json")]:
        if ours:
            (target / path.name).hardlink_to(path)
        else:
            shutil.copyfile(path, target / path.name)


def _manifest(
    build: Path,
    model: _Model,
    identity: str,
    precision: Precision,
    engines: frozenset[EngineName],
    wanted: frozenset[EngineName],
) -> PreparedModel:
    recipe = model.recipe
    paths = sorted(path for path in build.rglob("*") if path.is_file())
    return PreparedModel(
        format=FORMAT,
        fingerprint=identity,
        task=recipe.task,
        architecture=recipe.architecture,
        dimensions=recipe.dimensions,
        max_tokens=recipe.max_tokens,
        pooling=recipe.pooling,
        normalize=recipe.normalize,
        query_prefix=recipe.query_prefix,
        document_prefix=recipe.document_prefix,
        precision=precision,
        engines=tuple(sorted(engines)),
        considered=tuple(sorted(wanted)),
        files={path.relative_to(build).as_posix(): hash_file(path) for path in paths},
        sizes={path.relative_to(build).as_posix(): path.stat().st_size for path in paths},
    )


def _check_space(weights_dir: Path, model: _Model, engines: frozenset[EngineName]) -> None:
    needed = 32 << 20
    if engines & CPU_ENGINES:
        needed += 4 * sum(int(np.prod(model.tensors.shape(name))) for name in model.tensors.names())
    if EngineName.TORCH in engines and not model.files.root.is_relative_to(weights_dir):
        needed += model.tensors.bytes_
    require_space(weights_dir, needed, "to convert the model")
