"""Source `huggingFace`, through the real client against a server that speaks the hub's HTTP API."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import SecretStr

from embedding_serving.contract.model import DirectorySource, EngineName, HubSource
from embedding_serving.contract.reports import Outcome
from embedding_serving.contract.settings import PrepareSettings
from fixtures.hub import Faults, Hub
from fixtures.models import custom_code_model, derived_minilm, minilm_directory, pickle_only_model, tiny_model

from .run import fail, start, succeed, wait_until

TOKEN = "hf_a-secret-token"
REPO = "acme/tiny"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "tiny")


@pytest.fixture
def hub() -> Iterator[Hub]:
    with Hub() as server:
        yield server


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    directory = tmp_path / "weights"
    directory.mkdir()
    return directory


def _settings(hub: Hub, weights: Path, revision: str, repo: str = REPO, token: str | None = None) -> PrepareSettings:
    return PrepareSettings(
        revision="00000000",
        weights_dir=str(weights),
        source=HubSource(repo=repo, revision=revision),
        hub_endpoint=hub.url,
        hub_token=SecretStr(token) if token else None,
    )


def _ranges(hub: Hub) -> list[str | None]:
    return [request.byte_range for request in hub.requests if request.origin == "content"]


def test_a_repository_has_the_fingerprint_of_its_files(hub: Hub, weights: Path, tiny: Path, tmp_path: Path) -> None:
    fetched = succeed(_settings(hub, weights, hub.add(REPO, tiny)))
    (tmp_path / "other").mkdir()
    mounted = succeed(
        PrepareSettings(revision="00000000", weights_dir=str(tmp_path / "other"), source=DirectorySource(path=str(tiny)))
    )
    assert fetched.report.fingerprint == mounted.report.fingerprint


def test_only_the_pinned_commit_and_only_needed_files_are_asked_for(
    hub: Hub, weights: Path, tiny: Path, tmp_path: Path
) -> None:
    old = hub.add(REPO, tiny)
    other = tiny_model(tmp_path / "new", seed=1)
    (other / "pytorch_model.bin").write_bytes(b"not to be fetched")
    (other / "onnx").mkdir()
    (other / "onnx" / "model.onnx").write_bytes(b"not to be fetched")
    new = hub.add(REPO, other)
    succeed(_settings(hub, weights, new))
    paths = [request.path for request in hub.requests if request.origin == "hub"]
    assert not any(old in path for path in paths)
    assert all(new in path for path in paths)
    assert not any(path.endswith((".bin", ".onnx", ".md")) for path in paths)


def test_a_listing_of_many_pages_is_read_to_its_end(hub: Hub, weights: Path, tiny: Path) -> None:
    hub.faults.page_size = 2
    succeed(_settings(hub, weights, hub.add(REPO, tiny), token=TOKEN))


def test_a_prepared_model_needs_the_hub_no_more(hub: Hub, weights: Path, tiny: Path) -> None:
    settings = _settings(hub, weights, hub.add(REPO, tiny))
    succeed(settings)
    hub.requests.clear()
    hub.faults.status = 500
    succeed(settings)
    assert hub.requests == []


def test_a_broken_connection_is_resumed_within_one_run(hub: Hub, weights: Path) -> None:
    hub.faults.break_after_bytes, hub.faults.break_times = 25_000_000, 2
    succeed(_settings(hub, weights, hub.add("acme/minilm", minilm_directory()), "acme/minilm"))
    ranges = _ranges(hub)
    assert len(ranges) == 3
    assert ranges[0] is None
    assert all(byte_range and byte_range != "bytes=0-" for byte_range in ranges[1:])


def test_a_killed_download_goes_on_where_it_was(hub: Hub, weights: Path) -> None:
    hub.faults.bytes_per_second = 30_000_000
    settings = _settings(hub, weights, hub.add("acme/minilm", minilm_directory()), "acme/minilm")
    first = start(settings)
    parts = ".prepare/*/download/model.safetensors.part"
    wait_until(lambda: any(path.stat().st_size > 0 for path in weights.glob(parts)), "a part of the weights")
    first.kill()
    held = next(weights.glob(parts)).stat().st_size
    hub.faults.bytes_per_second = None
    hub.requests.clear()
    succeed(settings)
    assert _ranges(hub) == [f"bytes={held}-"]


def test_a_server_that_ignores_ranges_is_read_from_the_start(hub: Hub, weights: Path) -> None:
    hub.faults.ignore_range = True
    hub.faults.break_after_bytes = 25_000_000
    succeed(_settings(hub, weights, hub.add("acme/minilm", minilm_directory()), "acme/minilm"))


def test_a_rotten_part_of_an_earlier_run_is_thrown_away(hub: Hub, weights: Path, tiny: Path) -> None:
    settings = _settings(hub, weights, hub.add(REPO, tiny))
    hub.faults.status = 403
    fail(settings, Outcome.SOURCE_NOT_FOUND)
    hub.faults.status = None
    work = next(weights.glob(".prepare/*/download"))
    (work / "model.safetensors.part").write_bytes(b"rubbish" * 100)
    succeed(settings)


def test_content_that_does_not_match_its_hash_is_refused(hub: Hub, weights: Path, tiny: Path) -> None:
    hub.faults.wrong_bytes = True
    ended = fail(_settings(hub, weights, hub.add(REPO, tiny)), Outcome.HASH_MISMATCH)
    assert "SHA-256" in ended.report.message
    hub.faults.wrong_bytes = False
    succeed(_settings(hub, weights, hub.add(REPO, tiny)))


def test_a_private_repository_without_a_token_says_where_to_give_one(hub: Hub, weights: Path, tiny: Path) -> None:
    hub.faults.token = TOKEN
    ended = fail(_settings(hub, weights, hub.add(REPO, tiny)), Outcome.SOURCE_NOT_FOUND)
    assert "No token was sent" in ended.report.message
    assert "tokenSecretRef" in ended.report.message


def test_a_wrong_token_says_that_one_was_sent_but_not_which(hub: Hub, weights: Path, tiny: Path) -> None:
    hub.faults.token = TOKEN
    ended = fail(_settings(hub, weights, hub.add(REPO, tiny), token="hf_wrong"), Outcome.SOURCE_NOT_FOUND)
    assert "A token was sent" in ended.report.message
    assert "hf_wrong" not in ended.log + ended.report.message


def test_a_token_opens_a_private_repository_and_never_leaves_the_hub(hub: Hub, weights: Path, tiny: Path) -> None:
    hub.faults.token = TOKEN
    ended = succeed(_settings(hub, weights, hub.add(REPO, tiny), token=TOKEN))
    content = [request for request in hub.requests if request.origin == "content"]
    assert content
    assert all(request.authorization is None for request in content)
    assert TOKEN not in ended.log + ended.report.message
    assert "signature" not in ended.log


def test_a_token_does_not_follow_a_listing_to_another_origin(hub: Hub, weights: Path, tiny: Path) -> None:
    hub.faults.token, hub.faults.page_size, hub.faults.pages_elsewhere = TOKEN, 2, True
    fail(_settings(hub, weights, hub.add(REPO, tiny), token=TOKEN), Outcome.SOURCE_NOT_FOUND)
    elsewhere = [request for request in hub.requests if request.origin == "content"]
    assert elsewhere
    assert all(request.authorization is None for request in elsewhere)


@pytest.mark.parametrize(("token", "words"), [(None, "no token was sent"), (TOKEN, "the token that was sent has no access")])
def test_a_gated_repository_says_what_to_do(hub: Hub, weights: Path, tiny: Path, token: str | None, words: str) -> None:
    hub.faults.gated = True
    ended = fail(_settings(hub, weights, hub.add(REPO, tiny), token=token), Outcome.SOURCE_NOT_FOUND)
    assert "gated" in ended.report.message
    assert words in ended.report.message


def test_unknown_repositories_and_commits_are_told_apart(hub: Hub, weights: Path, tiny: Path) -> None:
    revision = hub.add(REPO, tiny)
    ended = fail(_settings(hub, weights, "0" * 40), Outcome.SOURCE_NOT_FOUND)
    assert "has no commit 0000" in ended.report.message
    ended = fail(_settings(hub, weights, revision, repo="acme/unknown"), Outcome.SOURCE_NOT_FOUND)
    assert "acme/unknown was not found" in ended.report.message
    ended = fail(_settings(hub, weights, revision, repo="a/b/c"), Outcome.SOURCE_NOT_FOUND)
    assert "no repository name" in ended.report.message


def test_a_failing_hub_is_tried_again(hub: Hub, weights: Path, tiny: Path) -> None:
    hub.faults = Faults(status=503, status_times=2)
    succeed(_settings(hub, weights, hub.add(REPO, tiny)))


def test_pickle_only_repositories_are_refused_without_fetching_the_pickle(hub: Hub, weights: Path, tmp_path: Path) -> None:
    revision = hub.add(REPO, pickle_only_model(tmp_path / "pickle"))
    ended = fail(_settings(hub, weights, revision), Outcome.UNSAFE_WEIGHTS)
    assert "pytorch_model.bin" in ended.report.message
    assert _ranges(hub) == []


def test_a_model_that_can_not_be_served_is_refused_before_its_weights_are_fetched(
    hub: Hub, weights: Path, tmp_path: Path
) -> None:
    revision = hub.add(REPO, custom_code_model(tmp_path / "custom"))
    ended = fail(_settings(hub, weights, revision), Outcome.UNSUPPORTED_MODEL)
    assert "auto_map" in ended.report.message
    revision = hub.add(REPO, tiny_model(tmp_path / "torch", "modernbert"))
    settings = _settings(hub, weights, revision).model_copy(update={"engine": EngineName.OPENVINO})
    assert "served by torch alone" in fail(settings, Outcome.UNSUPPORTED_MODEL).report.message
    assert _ranges(hub) == []


def test_two_pods_on_one_volume_fetch_once_and_agree(hub: Hub, weights: Path) -> None:
    settings = _settings(hub, weights, hub.add("acme/minilm", minilm_directory()), "acme/minilm")
    both = [start(settings), start(settings)]
    ended = [pod.end() for pod in both]
    assert [pod.code for pod in ended] == [0, 0]
    assert ended[0].report.fingerprint == ended[1].report.fingerprint
    assert len(_ranges(hub)) == 1


def test_two_sources_of_one_content_may_race(hub: Hub, weights: Path, tmp_path: Path) -> None:
    model = derived_minilm(tmp_path / "model", layers=2)
    from_hub = _settings(hub, weights, hub.add(REPO, model))
    from_claim = from_hub.model_copy(update={"revision": "11111111", "source": DirectorySource(path=str(model))})
    ended = [pod.end() for pod in (start(from_hub), start(from_claim))]
    assert [pod.code for pod in ended] == [0, 0]
    assert ended[0].report.fingerprint == ended[1].report.fingerprint
    assert len([path for path in weights.iterdir() if len(path.name) == 64]) == 1


def test_a_run_that_is_killed_while_converting_leaves_nothing_half_done(hub: Hub, weights: Path) -> None:
    settings = _settings(hub, weights, hub.add("acme/minilm", minilm_directory()), "acme/minilm")
    first = start(settings)
    wait_until(lambda: bool(list(weights.glob(".prepare/*/build/onnx/*.data"))), "the conversion")
    first.kill()
    assert [path.name for path in weights.iterdir() if len(path.name) == 64] == []
    hub.requests.clear()
    succeed(settings)
    assert _ranges(hub) == []
    assert [path.name for path in weights.glob(".prepare/*/*")] == ["lock"]


def test_progress_is_told_while_a_download_runs(hub: Hub, weights: Path) -> None:
    hub.faults.bytes_per_second = 12_000_000
    ended = succeed(_settings(hub, weights, hub.add("acme/minilm", minilm_directory()), "acme/minilm"))
    told = [line for line in ended.lines if line["message"] == "downloading"]
    assert told
    assert all(set(line) >= {"bytes", "total_bytes", "percent"} for line in told)
