"""The command itself: exit code, report, log."""

import json
from pathlib import Path

import pytest

from embedding_serving.contract.model import DirectorySource
from embedding_serving.contract.reports import Outcome, Report
from embedding_serving.contract.settings import PrepareSettings, to_env
from embedding_serving.prepare.main import main
from fixtures.models import derived_minilm, pickle_only_model


@pytest.fixture
def env(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    (tmp_path / "weights").mkdir()
    settings = PrepareSettings(
        revision="00000000",
        weights_dir=str(tmp_path / "weights"),
        termination_path=str(tmp_path / "report"),
        source=DirectorySource(path=str(tmp_path / "model")),
    )
    for name, value in to_env(settings).items():
        monkeypatch.setenv(name, value)
    return monkeypatch


def _report(tmp_path: Path) -> Report:
    report = Report.parse((tmp_path / "report").read_text())
    assert report is not None
    return report


def test_success_is_0_with_fingerprint_and_dimensions(
    env: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    derived_minilm(tmp_path / "model", layers=1)
    assert main() == 0
    report = _report(tmp_path)
    assert (report.outcome, report.dimensions, len(report.fingerprint or "")) == (Outcome.PREPARED, 384, 64)
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert lines[-1]["outcome"] == "Prepared"
    assert lines[-1]["level"] == "INFO"


def test_a_refusal_is_1_with_its_reason_and_no_trace(
    env: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    pickle_only_model(tmp_path / "model")
    capfd.readouterr()
    assert main() == 1
    assert _report(tmp_path).outcome is Outcome.UNSAFE_WEIGHTS
    log = capfd.readouterr().err
    assert "Traceback" not in log
    assert json.loads(log.splitlines()[-1])["level"] == "ERROR"


def test_settings_that_can_not_be_read_are_named_without_their_values(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env.setenv("EO_SOURCE", '{"kind": "http", "url": "https://x/?signature=hidden", "sha256": "short"}')
    env.setenv("EO_REVISION", "nonsense")
    assert main() == 1
    report = _report(tmp_path)
    assert report.outcome is Outcome.UNAVAILABLE
    assert "EO_REVISION" in report.message
    assert "SHA256" in report.message
    assert "hidden" not in report.message


def test_a_source_that_is_no_json_is_named(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    env.setenv("EO_SOURCE", "{nonsense")
    assert main() == 1
    assert "EO_SOURCE" in _report(tmp_path).message


def test_a_report_that_can_not_be_written_does_not_hide_the_result(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    derived_minilm(tmp_path / "model", layers=1)
    env.setenv("EO_TERMINATION_PATH", str(tmp_path / "no" / "such" / "directory"))
    assert main() == 0


def test_a_volume_that_is_not_there_is_unavailable(env: pytest.MonkeyPatch, tmp_path: Path) -> None:
    derived_minilm(tmp_path / "model", layers=1)
    (tmp_path / "file").write_text("")
    env.setenv("EO_WEIGHTS_DIR", str(tmp_path / "file"))
    assert main() == 1
    assert _report(tmp_path).outcome is Outcome.UNAVAILABLE
    assert "weights volume" in _report(tmp_path).message
