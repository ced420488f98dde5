from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.model import EngineName, Normalize, Pooling, Precision, SelfCheck, Task
from embedding_serving.contract.reports import Outcome
from embedding_serving.embed.engines.choose import ChosenEngine, choose_engine
from embedding_serving.embed.engines.engine import Engine, EngineUnavailable, Ids, LoadRequest, Vectors
from embedding_serving.embed.tokens import TextTokenizer, Truncation
from embedding_serving.failure import StartFailed
from embedding_serving.prepared import PROBES, REFERENCE, PreparedModel
from fixtures.models import minilm_directory

from .fake_engine import FakeEngine

ORT, OV, TORCH = EngineName.ONNX_RUNTIME, EngineName.OPENVINO, EngineName.TORCH


class WrongEngine(FakeEngine):
    """Turned away from the right vector by an angle whose cosine is given; in batches by another one."""

    def __init__(self, cosine: float, batched_cosine: float | None = None) -> None:
        super().__init__()
        self.cosine = cosine
        self.batched_cosine = cosine if batched_cosine is None else batched_cosine

    def encode(self, input_ids: Ids, attention_mask: Ids, token_type_ids: Ids) -> Vectors:
        cosine = self.cosine if len(input_ids) == 1 else self.batched_cosine
        right = np.array([cosine, np.sqrt(1 - cosine**2), 0, 0], dtype=np.float32)
        return np.tile(right, (len(input_ids), 1))


@pytest.fixture(scope="module")
def tokenizer() -> TextTokenizer:
    return TextTokenizer(minilm_directory() / "tokenizer.json", 64)


@pytest.fixture
def choose(tmp_path: Path, tokenizer: TextTokenizer) -> Callable[..., ChosenEngine]:
    np.save(tmp_path / REFERENCE, np.tile(np.array([1, 0, 0, 0], dtype=np.float32), (len(PROBES), 1)))

    def run(
        available: dict[EngineName, Engine | Exception],
        wanted: EngineName = EngineName.AUTO,
        rule: SelfCheck = SelfCheck.ENFORCE,
        precision: Precision = Precision.FLOAT32,
    ) -> ChosenEngine:
        model = PreparedModel(
            fingerprint="f", task=Task.EMBED, architecture="Bert", dimensions=4, max_tokens=64, pooling=Pooling.MEAN,
            normalize=Normalize.ALWAYS, query_prefix="", document_prefix="", precision=precision,
            engines=tuple(available), files={},
        )  # fmt: skip

        def load(name: EngineName, request: LoadRequest) -> Engine:
            engine = available[name]
            if isinstance(engine, Exception):
                raise engine
            return engine

        return choose_engine(LoadRequest(model, tmp_path, 1), wanted, rule, tokenizer, load)

    return run


def test_auto_takes_the_next_where_one_cannot_run_or_is_wrong(choose: Callable[..., ChosenEngine]) -> None:
    right = WrongEngine(1.0)
    chosen = choose({ORT: EngineUnavailable("not in this image"), OV: WrongEngine(0.9), TORCH: right})
    assert chosen.engine is right
    assert chosen.check.cosine == pytest.approx(1.0)


def test_fp32_is_held_to_a_stricter_limit_than_lowered_precision(choose: Callable[..., ChosenEngine]) -> None:
    engines = {ORT: WrongEngine(0.9995)}
    assert choose(engines, precision=Precision.BFLOAT16).check.cosine == pytest.approx(0.9995, abs=1e-5)
    with pytest.raises(StartFailed, match=r"0\.9995\d+, at least 0\.99999 is required") as failed:
        choose(engines)
    assert failed.value.outcome is Outcome.SELF_CHECK_FAILED


def test_warn_serves_the_best_of_what_is_below_the_limit(choose: Callable[..., ChosenEngine]) -> None:
    better = WrongEngine(0.98)
    assert choose({ORT: WrongEngine(0.9), OV: better}, rule=SelfCheck.WARN).engine is better


@pytest.mark.parametrize("rule", SelfCheck)
def test_an_engine_whose_vectors_depend_on_the_batch_never_serves(choose: Callable[..., ChosenEngine], rule: SelfCheck) -> None:
    with pytest.raises(StartFailed, match="depends on its batch mates"):
        choose({ORT: WrongEngine(1.0, batched_cosine=0.9995)}, rule=rule, precision=Precision.BFLOAT16)


def test_a_named_engine_is_not_replaced_by_another(choose: Callable[..., ChosenEngine]) -> None:
    with pytest.raises(StartFailed, match="OpenVINO: not in this image"):
        choose({ORT: WrongEngine(1.0), OV: EngineUnavailable("not in this image")}, wanted=OV)
    with pytest.raises(StartFailed, match="not prepared for Torch, but for ONNXRuntime"):
        choose({ORT: WrongEngine(1.0)}, wanted=TORCH)


def test_triton_is_refused_with_what_to_set_instead(choose: Callable[..., ChosenEngine]) -> None:
    with pytest.raises(StartFailed, match=r"set spec\.runtime\.engine to Auto"):
        choose({ORT: WrongEngine(1.0)}, wanted=EngineName.TRITON)


def test_a_wrong_number_of_dimensions_agrees_with_nothing(choose: Callable[..., ChosenEngine]) -> None:
    narrow = WrongEngine(1.0)
    narrow.encode = lambda *inputs: np.ones((len(inputs[0]), 3), dtype=np.float32)  # type: ignore[method-assign]
    with pytest.raises(StartFailed):
        choose({ORT: narrow}, rule=SelfCheck.ENFORCE)


def test_special_tokens_frame_the_probes(tokenizer: TextTokenizer) -> None:
    assert all(probe.ids[0] == 101 for probe in tokenizer.texts(PROBES, Truncation.RIGHT))
