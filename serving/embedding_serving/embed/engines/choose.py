"""Which engine serves: what is asked for, or the best that is here, runs this model and passes the self-check."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ...contract.model import EngineName, Precision, SelfCheck
from ...contract.reports import Outcome
from ...cpu import has_bfloat16
from ...failure import StartFailed
from ...prepared import PROBES, REFERENCE
from ..tokens import TextTokenizer, Tokens, Truncation
from .engine import Engine, EngineUnavailable, LoadRequest
from .selfcheck import SelfCheckResult, self_check

log = logging.getLogger(__name__)

Load = Callable[[EngineName, LoadRequest], Engine]


@dataclass(frozen=True, slots=True)
class ChosenEngine:
    engine: Engine
    check: SelfCheckResult


def choose_engine(
    request: LoadRequest, wanted: EngineName, rule: SelfCheck, tokenizer: TextTokenizer, load: Load
) -> ChosenEngine:
    """Raises StartFailed where no engine may serve."""
    probes = _probes(request, tokenizer)
    refused: list[str] = []
    failed: list[ChosenEngine] = []
    for name in _candidates(request, wanted):
        try:
            candidate = _checked(name, request, probes, load)
        except EngineUnavailable as error:
            refused.append(f"{name}: {error}")
            log.warning("engine %s cannot run here: %s", name, error)
            continue
        complaint = candidate.check.complaint or _batch_complaint(candidate.check)
        if complaint is None:
            _say(candidate)
            return candidate
        refused.append(f"{name}: {complaint}")
        log.warning("engine %s does not pass the self-check: %s", name, complaint)
        failed.append(candidate)
    return _last_resort(failed, refused, rule)


def load_engine(name: EngineName, request: LoadRequest) -> Engine:
    """Imports only the runtime that is asked for. Raises EngineUnavailable where it is not installed or cannot load."""
    try:
        if name is EngineName.ONNX_RUNTIME:
            from .onnxruntime import OnnxRuntimeEngine

            return OnnxRuntimeEngine(request)
        if name is EngineName.OPENVINO:
            from .openvino import OpenVinoEngine

            return OpenVinoEngine(request)
        from .torch import TorchEngine

        return TorchEngine(request)
    except ImportError as error:
        raise EngineUnavailable(f"not in this image ({error.name or error})") from error
    except EngineUnavailable:
        raise
    except Exception as error:  # each runtime has its own exceptions for a file that it cannot load
        raise EngineUnavailable(f"cannot load the model: {error}") from error


def _candidates(request: LoadRequest, wanted: EngineName) -> Sequence[EngineName]:
    if wanted is EngineName.TRITON:
        raise StartFailed(
            Outcome.UNSUPPORTED_MODEL,
            "this image has no Triton client: set spec.runtime.engine to Auto, ONNXRuntime, OpenVINO or Torch",
        )
    prepared = request.model.engines
    if wanted is not EngineName.AUTO:
        if wanted not in prepared:
            raise StartFailed(
                Outcome.UNSUPPORTED_MODEL,
                f"the model was not prepared for {wanted}, but for {', '.join(prepared)}: "
                "set spec.runtime.engine to Auto or to one of these",
            )
        return [wanted]
    return [name for name in _preference(request.model.precision) if name in prepared]


def _preference(precision: Precision) -> Sequence[EngineName]:
    """A GPU first; then what is fastest for this number format on this processor."""
    cpu = [EngineName.ONNX_RUNTIME, EngineName.OPENVINO]
    if precision is Precision.INT8 or (precision is Precision.BFLOAT16 and has_bfloat16()):
        cpu.reverse()
    return [EngineName.TORCH, *cpu] if has_gpu() else [*cpu, EngineName.TORCH]


def has_gpu() -> bool:
    """Whether torch sees a GPU. Looks for the device first, torch takes seconds to import."""
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def _checked(name: EngineName, request: LoadRequest, probes: Sequence[Tokens], load: Load) -> ChosenEngine:
    engine = load(name, request)
    reference = np.load(request.directory / REFERENCE, allow_pickle=False)
    return ChosenEngine(engine, self_check(engine, probes, reference, request.model.precision))


def _probes(request: LoadRequest, tokenizer: TextTokenizer) -> Sequence[Tokens]:
    if request.model.task == "Rerank":
        return tokenizer.pairs(PROBES[0], PROBES, Truncation.RIGHT)
    return tokenizer.texts(PROBES, Truncation.RIGHT)


def _batch_complaint(check: SelfCheckResult) -> str | None:
    if not check.depends_on_batch:
        return None
    return f"a vector depends on its batch mates (cosine {check.batch_cosine:.6f} between alone and batched)"


def _last_resort(failed: Sequence[ChosenEngine], refused: Sequence[str], rule: SelfCheck) -> ChosenEngine:
    """Under `Warn` the best of those below the limit serves; one whose vectors depend on the batch never does."""
    reasons = "; ".join(refused) or "the model was prepared for no engine"
    servable = [candidate for candidate in failed if not candidate.check.depends_on_batch]
    if rule is SelfCheck.WARN and servable:
        best = max(servable, key=lambda candidate: candidate.check.cosine)
        log.warning("serving below the self-check's limit, because spec.runtime.selfCheck is Warn: %s", reasons)
        _say(best)
        return best
    if failed:
        raise StartFailed(
            Outcome.SELF_CHECK_FAILED,
            f"no engine passes the self-check ({reasons}). Choose another spec.runtime.engine or spec.model.precision; "
            "spec.runtime.selfCheck: Warn serves the vectors as they are",
        )
    raise StartFailed(Outcome.UNSUPPORTED_MODEL, f"no engine can run this model here ({reasons})")


def _say(chosen: ChosenEngine) -> None:
    engine, check = chosen.engine, chosen.check
    log.info(
        "engine %s (%s): cosine %.6f to the fp32 reference",
        engine.name,
        engine.arithmetic,
        check.cosine,
        extra={"engine": engine.name, "self_check_cosine": round(check.cosine, 7), "concurrency": engine.concurrency},
    )
