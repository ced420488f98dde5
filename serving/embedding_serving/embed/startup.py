"""From the settings to an engine that is ready to answer: locate, verify, load, self-check, warm up."""

import hashlib
import logging
import time
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from ..contract.model import EngineName
from ..contract.reports import ModelInfo, Outcome
from ..contract.settings import EmbedSettings
from ..cpu import cpu_quota
from ..failure import StartFailed
from ..prepared import ONNX_MODEL, REFERENCE, TOKENIZER, TORCH_DIR, PreparedModel, locate
from .encoder_input import padded
from .engines.choose import ChosenEngine, choose_engine, load_engine
from .engines.engine import Engine, LoadRequest
from .scheduler import BatchLimits
from .tokens import BrokenTokenizer, TextTokenizer, Tokens

log = logging.getLogger(__name__)

WARM_UP_LENGTHS = (8, 32, 128)


@dataclass(frozen=True, slots=True)
class LoadedModel:
    model: PreparedModel
    tokenizer: TextTokenizer
    engine: Engine
    limits: BatchLimits
    info: ModelInfo


def load_model(settings: EmbedSettings, version: str) -> LoadedModel:
    """Blocks for about a second. Raises StartFailed, which says what to do."""
    started = time.perf_counter()
    directory, model = _open(settings)
    _verify_fingerprint(settings, directory, model)
    tokenizer = _tokenizer(directory, model)
    request = LoadRequest(model, directory, settings.workers or cpu_quota())
    chosen = choose_engine(request, settings.engine, settings.self_check, tokenizer, _load_verified)
    limits = _limits(settings, chosen.engine)
    speed = _warm_up(chosen.engine, limits, model.max_tokens)
    log.info("ready to serve %s after %.1f s", model.fingerprint, time.perf_counter() - started)
    return LoadedModel(model, tokenizer, chosen.engine, limits, _info(settings, model, chosen, limits, speed, version))


def _open(settings: EmbedSettings) -> tuple[Path, PreparedModel]:
    try:
        directory = locate(Path(settings.weights_dir), settings.revision)
        return directory, PreparedModel.load(directory)
    except OSError as error:
        raise StartFailed(
            Outcome.UNAVAILABLE,
            f"revision {settings.revision} is not prepared in {settings.weights_dir} ({error.strerror}: {error.filename}): "
            "the step `prepare` has to run first, on the same volume",
        ) from error
    except ValidationError as error:
        raise StartFailed(
            Outcome.UNAVAILABLE,
            f"the manifest of revision {settings.revision} in {settings.weights_dir} is not one that this version reads "
            f"({error.error_count()} errors): let `prepare` of the same version run again",
        ) from error


def _verify_fingerprint(settings: EmbedSettings, directory: Path, model: PreparedModel) -> None:
    if model.fingerprint != directory.name:
        raise StartFailed(
            Outcome.HASH_MISMATCH,
            f"{directory} holds a model of fingerprint {model.fingerprint}: delete it, `prepare` makes it anew",
        )
    if settings.expected_fingerprint not in (None, model.fingerprint):
        raise StartFailed(
            Outcome.FINGERPRINT_MISMATCH,
            f"revision {settings.revision} is known as {settings.expected_fingerprint}, but these files are "
            f"{model.fingerprint}: the source has changed under its name. Vectors of the two must not meet; "
            "pin the source, or make it a new revision",
        )


def _tokenizer(directory: Path, model: PreparedModel) -> TextTokenizer:
    try:
        return TextTokenizer(directory / TOKENIZER, model.max_tokens)
    except BrokenTokenizer as error:
        raise StartFailed(Outcome.UNSUPPORTED_MODEL, str(error)) from error


def _load_verified(name: EngineName, request: LoadRequest) -> Engine:
    _verify_files(request.directory, request.model, name)
    return load_engine(name, request)


def _verify_files(directory: Path, model: PreparedModel, engine: EngineName) -> None:
    """Compares what will be loaded with the manifest's hashes: a volume may have lost or changed bytes since `prepare`."""
    used = TORCH_DIR if engine is EngineName.TORCH else Path(ONNX_MODEL).parent.name
    for name, expected in model.files.items():
        if name.split("/")[0] in (used, TOKENIZER, REFERENCE) and _sha256(directory / name) != expected:
            raise StartFailed(
                Outcome.HASH_MISMATCH, f"{directory / name} is not what `prepare` wrote: delete {directory}, it is made anew"
            )


def _sha256(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise StartFailed(Outcome.HASH_MISMATCH, f"{path}: {error.strerror}") from error


def _limits(settings: EmbedSettings, engine: Engine) -> BatchLimits:
    return replace(engine.limits, max_tokens=settings.max_batch_tokens or engine.limits.max_tokens)


def _warm_up(engine: Engine, limits: BatchLimits, max_tokens: int) -> int:
    """Batches such as traffic will bring: memory is allocated and kernels are chosen before the first.

    Answers tokens a second of all workers, by a full batch that comes after one like it.
    """
    for length in WARM_UP_LENGTHS:
        if length <= max_tokens:
            _encode_nothing(engine, 1, length)
    full = min(WARM_UP_LENGTHS[-1], max_tokens)
    texts = max(1, min(limits.max_texts, limits.max_tokens // full))
    _encode_nothing(engine, texts, full)
    seconds = _encode_nothing(engine, texts, full)
    return round(engine.concurrency * texts * full / max(seconds, 1e-6))


def _encode_nothing(engine: Engine, texts: int, tokens: int) -> float:
    """How many seconds that takes."""
    started = time.perf_counter()
    engine.encode(*padded([Tokens([0] * tokens)] * texts, engine.length_multiple))
    return time.perf_counter() - started


def _info(
    settings: EmbedSettings, model: PreparedModel, chosen: ChosenEngine, limits: BatchLimits, speed: int, version: str
) -> ModelInfo:
    return ModelInfo(
        model=settings.model_name,
        revision=settings.revision,
        fingerprint=model.fingerprint,
        task=model.task,
        dimensions=model.dimensions,
        max_tokens=model.max_tokens,
        pooling=model.pooling,
        normalize=model.normalize,
        precision=model.precision,
        engine=chosen.engine.name,
        self_check_cosine=chosen.check.cosine,
        workers=chosen.engine.concurrency,
        max_batch_tokens=limits.max_tokens,
        tokens_per_second=speed,
        version=version,
    )
