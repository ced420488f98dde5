"""From nothing to ready, and what the operator reads where it does not come to that."""

import json
import shutil
from pathlib import Path

import httpx
import numpy as np
import pytest

from embedding_serving.contract.model import EngineName, ModelOptions, Precision, SelfCheck
from embedding_serving.contract.reports import ModelInfo, Outcome
from fixtures.models import minilm_directory

from .server import REVISION, EmbedServer, Prepared, prepare, serving, started, wait_until


def test_health_answers_before_the_model_is_loaded_and_readiness_only_after(minilm: Prepared, tmp_path: Path) -> None:
    with started(minilm, tmp_path) as server:
        seen: list[tuple[int, int, int]] = []

        def probe() -> bool:
            if server.ready():
                return True
            seen.append(
                (
                    httpx.get(f"{server.url}/healthz").status_code,
                    httpx.get(f"{server.url}/v1/info").status_code,
                    httpx.post(f"{server.url}/embed", json={"text": "too early"}).status_code,
                )
            )
            return False

        wait_until(probe, server.log)
        assert seen
        assert seen[0] == (200, 503, 503)
        assert httpx.post(f"{server.url}/embed", json={"text": "now"}).status_code == 200


def test_info_tells_what_serves(server: EmbedServer, minilm: Prepared) -> None:
    info = ModelInfo.model_validate_json(httpx.get(f"{server.url}/v1/info").content)
    assert (info.model, info.revision, info.fingerprint) == ("minilm", REVISION, minilm.fingerprint)
    assert (info.dimensions, info.max_tokens, info.engine) == (384, 256, EngineName.ONNX_RUNTIME)
    assert info.self_check_cosine > 0.99999
    assert info.tokens_per_second
    assert httpx.get(f"{server.admin_url}/v1/info").json() == info.model_dump(mode="json")
    tei = httpx.get(f"{server.url}/info").json()
    assert (tei["model_id"], tei["max_input_length"], tei["model_type"]) == ("minilm", 256, {"embedding": {"pooling": "mean"}})


@pytest.mark.parametrize("engine", [EngineName.ONNX_RUNTIME, EngineName.OPENVINO, EngineName.TORCH])
def test_every_engine_serves_the_same_vectors(
    server: EmbedServer, minilm: Prepared, tmp_path: Path, engine: EngineName
) -> None:
    texts = ["A cat sleeps.", "東京は晴れです。", "word " * 300]
    with serving(minilm, tmp_path, engine=engine) as other:
        assert httpx.get(f"{other.url}/v1/info").json()["engine"] == engine
        mine, theirs = (np.array(httpx.post(f"{s.url}/embed", json={"inputs": texts}).json()) for s in (other, server))
    assert np.einsum("nd,nd->n", mine, theirs).min() > 0.99999


@pytest.mark.parametrize("engine", [EngineName.OPENVINO, EngineName.ONNX_RUNTIME])
def test_int8_weights_pass_the_limit_alone_or_in_company(tmp_path: Path, engine: EngineName) -> None:
    """Only weights are quantised: a vector does not depend on its batch mates."""
    int8 = prepare(minilm_directory(), tmp_path / "weights", ModelOptions(precision=Precision.INT8))
    with serving(int8, tmp_path, engine=engine) as server:
        info = httpx.get(f"{server.url}/v1/info").json()
        assert (info["engine"], info["precision"]) == (engine, "Int8")
        assert 0.999 <= info["self_check_cosine"] < 0.99999, "it is not fp32 that serves"
        texts = ["A cat sleeps.", "Another text of some length, to be encoded in the same batch as the first one.", "short"]
        together = np.array(httpx.post(f"{server.url}/embed", json={"inputs": texts}).json())
        alone = np.array([httpx.post(f"{server.url}/embed", json={"inputs": text}).json()[0] for text in texts])
    assert np.einsum("nd,nd->n", together, alone).min() > 0.9999


def test_bfloat16_passes_its_own_limit_and_says_so(tmp_path: Path) -> None:
    prepared = prepare(minilm_directory(), tmp_path / "weights", ModelOptions(precision=Precision.BFLOAT16))
    with serving(prepared, tmp_path) as server:
        assert httpx.get(f"{server.url}/v1/info").json()["self_check_cosine"] > 0.999
        (line,) = [json.loads(line) for line in server.log().splitlines() if "to the fp32 reference" in line]
        assert float(line["self_check_cosine"]) > 0.999


def failure(prepared: Prepared, work: Path, **settings: object) -> tuple[Outcome, str]:
    with started(prepared, work, **settings) as server:
        code, report = server.ended()
        assert code == 1, server.log()
        assert report is not None
        assert "Traceback" not in server.log()
        return report.outcome, report.message


@pytest.fixture
def damaged(minilm: Prepared, tmp_path: Path) -> Prepared:
    """A copy that a test may harm."""
    copy = tmp_path / "damaged"
    shutil.copytree(minilm.weights_dir, copy)
    for path in copy.rglob("*"):
        path.chmod(0o755)
    return Prepared(copy, minilm.fingerprint)


def test_what_is_not_prepared_is_named(tmp_path: Path) -> None:
    outcome, message = failure(Prepared(tmp_path / "empty", ""), tmp_path)
    assert outcome is Outcome.UNAVAILABLE
    assert "is not prepared in" in message


def test_another_fingerprint_than_expected_is_refused(minilm: Prepared, tmp_path: Path) -> None:
    outcome, message = failure(minilm, tmp_path, expected_fingerprint="0" * 64)
    assert outcome is Outcome.FINGERPRINT_MISMATCH
    assert minilm.fingerprint in message


def test_the_expected_fingerprint_is_served(minilm: Prepared, tmp_path: Path) -> None:
    with serving(minilm, tmp_path, expected_fingerprint=minilm.fingerprint):
        pass


def test_weights_that_changed_on_the_volume_are_refused(damaged: Prepared, tmp_path: Path) -> None:
    weights = damaged.weights_dir / damaged.fingerprint / "onnx/model.onnx.data"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    outcome, message = failure(damaged, tmp_path)
    assert outcome is Outcome.HASH_MISMATCH
    assert "model.onnx.data is not what `prepare` wrote" in message


def test_an_engine_that_does_not_agree_with_the_reference_is_refused_or_says_so(damaged: Prepared, tmp_path: Path) -> None:
    import hashlib

    directory = damaged.weights_dir / damaged.fingerprint
    reference = np.load(directory / "reference.npy")
    np.save(directory / "reference.npy", reference + np.random.default_rng(1).normal(0, 0.01, reference.shape).astype("f4"))
    manifest = json.loads((directory / "model.json").read_text())
    manifest["files"]["reference.npy"] = hashlib.sha256((directory / "reference.npy").read_bytes()).hexdigest()
    (directory / "model.json").write_text(json.dumps(manifest))
    outcome, message = failure(damaged, tmp_path, engine=EngineName.ONNX_RUNTIME)
    assert outcome is Outcome.SELF_CHECK_FAILED
    assert "spec.runtime.selfCheck: Warn" in message
    with serving(damaged, tmp_path, engine=EngineName.ONNX_RUNTIME, self_check=SelfCheck.WARN) as server:
        assert httpx.get(f"{server.url}/v1/info").json()["self_check_cosine"] < 0.99999
        assert "serving below the self-check's limit" in server.log()


def test_triton_is_refused(minilm: Prepared, tmp_path: Path) -> None:
    outcome, message = failure(minilm, tmp_path, engine=EngineName.TRITON)
    assert outcome is Outcome.UNSUPPORTED_MODEL
    assert "Auto, ONNXRuntime, OpenVINO or Torch" in message


def test_a_taken_port_is_named(minilm: Prepared, server: EmbedServer, tmp_path: Path) -> None:
    outcome, message = failure(minilm, tmp_path, port=server.port)
    assert outcome is Outcome.UNAVAILABLE
    assert f"port {server.port}" in message


def test_a_bad_redis_address_is_refused_without_being_repeated(minilm: Prepared, tmp_path: Path) -> None:
    outcome, message = failure(minilm, tmp_path, redis_url="htp://:a-password@redis", cache_ttl_seconds=60)
    assert outcome is Outcome.UNAVAILABLE
    assert "redis" in message
    assert "a-password" not in message


def test_settings_that_cannot_be_read_are_named(minilm: Prepared, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os
    import subprocess
    import sys

    report = tmp_path / "report"
    env = {**os.environ, "EO_REVISION": "nonsense", "EO_MODEL_NAME": "m", "EO_TERMINATION_PATH": str(report)}
    run = subprocess.run([sys.executable, "-m", "embedding_serving", "embed"], env=env, capture_output=True, timeout=60)
    assert run.returncode == 1
    assert "EO_REVISION" in report.read_text()


def test_only_the_engine_that_serves_is_loaded(minilm: Prepared, tmp_path: Path) -> None:
    """Another runtime would cost seconds of start and hundreds of megabytes."""
    with serving(minilm, tmp_path) as server:
        maps = Path(f"/proc/{server.process.pid}/maps").read_text()
        assert "onnxruntime" in maps
        assert "libtorch" not in maps
        assert "openvino" not in maps
