"""A volume that is too small, for real: a tmpfs of 40 MiB under a model of 90."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from embedding_serving.contract.model import DirectorySource, HubSource
from embedding_serving.contract.reports import Outcome
from embedding_serving.contract.settings import PrepareSettings
from fixtures.hub import Hub
from fixtures.models import derived_minilm, minilm_directory

from .run import fail, succeed


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    volume = tmp_path / "small"
    volume.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "tmpfs", str(volume)], capture_output=True)
    if mounted.returncode:
        pytest.skip("needs the right to mount a tmpfs")
    try:
        yield volume
    finally:
        subprocess.run(["umount", str(volume)], check=True)


def test_a_model_that_does_not_fit_says_how_much_is_needed(small: Path) -> None:
    settings = PrepareSettings(
        revision="00000000", weights_dir=str(small), source=DirectorySource(path=str(minilm_directory()))
    )
    ended = fail(settings, Outcome.UNAVAILABLE)
    assert "MiB left, but" in ended.report.message
    assert "to convert the model" in ended.report.message
    assert "spec.weights.size" in ended.report.message


def test_a_download_that_does_not_fit_is_not_begun(small: Path) -> None:
    with Hub() as hub:
        source = HubSource(repo="acme/minilm", revision=hub.add("acme/minilm", minilm_directory()))
        settings = PrepareSettings(revision="00000000", weights_dir=str(small), source=source, hub_endpoint=hub.url)
        assert "to download acme/minilm" in fail(settings, Outcome.UNAVAILABLE).report.message
        assert [request for request in hub.requests if request.origin == "content"] == []


def test_a_full_volume_serves_again_once_it_has_grown(small: Path, tmp_path: Path) -> None:

    settings = PrepareSettings(
        revision="00000000",
        weights_dir=str(small),
        source=DirectorySource(path=str(derived_minilm(tmp_path / "model", layers=1))),
    )
    hog = small / "hog"
    hog.write_bytes(b"x" * (39 << 20))
    fail(settings, Outcome.UNAVAILABLE)
    hog.unlink()
    subprocess.run(["mount", "-o", "remount,size=300m", str(small)], check=True)
    succeed(settings)
