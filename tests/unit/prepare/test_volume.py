"""What lies on the volume of prepared models, and how it gets and stays there."""

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from embedding_serving.contract.model import DirectorySource, EngineName, ModelOptions
from embedding_serving.contract.settings import PrepareSettings
from embedding_serving.prepare.disk import explain, require_space
from embedding_serving.prepare.errors import FingerprintMismatchError, UnavailableError
from embedding_serving.prepare.pipeline import prepare
from embedding_serving.prepared import ONNX_MODEL, REFERENCE, PreparedModel, locate
from fixtures.models import tiny_model


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return tiny_model(tmp_path / "model")


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    directory = tmp_path / "weights"
    directory.mkdir()
    return directory


def _settings(source: Path, weights: Path, **changes: object) -> PrepareSettings:
    settings = PrepareSettings(revision="00000000", weights_dir=str(weights), source=DirectorySource(path=str(source)))
    return settings.model_copy(update=changes)


def test_a_prepared_revision_needs_its_source_no_more(source: Path, weights: Path) -> None:
    first = prepare(_settings(source, weights))
    shutil.rmtree(source)
    assert prepare(_settings(source, weights)) == first


def test_the_manifest_names_every_file_and_all_are_read_only(source: Path, weights: Path) -> None:
    manifest = prepare(_settings(source, weights))
    directory = locate(weights, "00000000")
    assert directory.name == manifest.fingerprint
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    assert found == {"model.json", *manifest.files}
    assert {path.stat().st_mode & 0o222 for path in directory.rglob("*") if path.is_file()} == {0}


def test_the_files_of_the_source_keep_their_permissions(source: Path, weights: Path) -> None:
    (source / "model.safetensors").chmod(0o644)
    prepare(_settings(source, weights, engine=EngineName.TORCH))
    assert (source / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_a_volume_for_the_cpu_holds_the_weights_once(source: Path, weights: Path) -> None:
    manifest = prepare(_settings(source, weights), with_torch=False)
    assert set(manifest.engines) == {EngineName.ONNX_RUNTIME, EngineName.OPENVINO}
    assert not (locate(weights, "00000000") / "torch").exists()


def test_engine_torch_takes_the_published_files_alone(source: Path, weights: Path) -> None:
    manifest = prepare(_settings(source, weights, engine=EngineName.TORCH))
    assert manifest.engines == (EngineName.TORCH,)
    assert {"torch/config.json", "torch/model.safetensors"} < set(manifest.files)
    assert ONNX_MODEL not in manifest.files


def test_another_engine_is_added_beside_files_in_use(source: Path, weights: Path) -> None:
    first = prepare(_settings(source, weights), with_torch=False)
    in_use = (weights / first.fingerprint / ONNX_MODEL).stat().st_ino
    both = prepare(_settings(source, weights, engine=EngineName.TORCH))
    assert both.fingerprint == first.fingerprint
    assert set(both.engines) == {EngineName.ONNX_RUNTIME, EngineName.OPENVINO, EngineName.TORCH}
    assert (weights / first.fingerprint / ONNX_MODEL).stat().st_ino == in_use
    assert prepare(_settings(weights / "gone", weights)) == both


def test_two_revisions_of_one_content_share_a_directory(source: Path, weights: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(source, tmp_path / "copy"))
    first = prepare(_settings(source, weights))
    second = prepare(_settings(copy, weights, revision="11111111"))
    assert first == second
    assert locate(weights, "11111111") == locate(weights, "00000000")


@pytest.mark.parametrize("damage", ["flip", "cut", "remove", "manifest", "format"])
def test_a_damaged_directory_is_made_again(source: Path, weights: Path, damage: str) -> None:
    manifest = prepare(_settings(source, weights))
    directory = weights / manifest.fingerprint
    victim = directory / (f"{ONNX_MODEL}.data" if damage in ("flip", "cut", "remove") else "model.json")
    content = victim.read_bytes()
    before = victim.stat()
    victim.unlink()
    if damage == "flip":
        victim.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(victim, ns=(before.st_atime_ns, before.st_mtime_ns))
    elif damage == "cut":
        victim.write_bytes(content[:-1])
    elif damage == "manifest":
        victim.write_bytes(b"{")
    elif damage == "format":
        victim.write_text(manifest.model_copy(update={"format": 0}).model_dump_json())
    assert prepare(_settings(source, weights)) == manifest
    assert PreparedModel.load(directory) == manifest
    assert np.load(directory / REFERENCE).shape[1] == manifest.dimensions


def test_a_prepared_revision_with_another_fingerprint_than_known_is_refused(source: Path, weights: Path) -> None:
    manifest = prepare(_settings(source, weights))
    prepare(_settings(source, weights, expected_fingerprint=manifest.fingerprint))
    with pytest.raises(FingerprintMismatchError):
        prepare(_settings(source, weights, expected_fingerprint="0" * 64))


def test_another_choice_of_one_source_stands_beside(source: Path, weights: Path) -> None:
    first = prepare(_settings(source, weights))
    second = prepare(_settings(source, weights, revision="11111111", options=ModelOptions(dimensions=8)))
    assert first.fingerprint != second.fingerprint
    assert {path.name for path in weights.iterdir() if len(path.name) == 64} == {first.fingerprint, second.fingerprint}


def test_no_work_files_stay_behind(source: Path, weights: Path) -> None:
    prepare(_settings(source, weights))
    assert [path.name for path in weights.glob(".prepare/*/*")] == ["lock"]


def test_an_abandoned_download_of_another_source_is_removed_after_a_day(source: Path, weights: Path) -> None:
    for name, age_seconds in (("old", 25 * 3600), ("young", 3600)):
        part = weights / ".prepare" / name / "download" / "model.safetensors.part"
        part.parent.mkdir(parents=True)
        part.write_bytes(b"x")
        stamp = part.stat().st_mtime - age_seconds
        for path in (part, part.parent, part.parent.parent):
            os.utime(path, (stamp, stamp))
    prepare(_settings(source, weights))
    assert not (weights / ".prepare" / "old").exists()
    assert (weights / ".prepare" / "young" / "download" / "model.safetensors.part").exists()


def test_too_little_room_names_what_is_there_and_what_is_needed(tmp_path: Path) -> None:
    with pytest.raises(UnavailableError, match=r"has \d+ MiB left, but 9437185 MiB are needed .*spec.weights.size"):
        require_space(tmp_path, 9 << 40, "to convert the model")


@pytest.mark.parametrize(
    ("number", "words"), [(errno.ENOSPC, "is full"), (errno.EROFS, "writable weights volume"), (errno.EIO, "failed")]
)
def test_a_sick_volume_is_told_from_a_sick_model(tmp_path: Path, number: int, words: str) -> None:
    message = explain(OSError(number, os.strerror(number)), tmp_path).message
    assert words in message
    assert "spec.weights" in message or "weights volume" in message
