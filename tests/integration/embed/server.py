"""The real `python -m embedding_serving prepare` and `embed`, as processes on loopback."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from embedding_serving.contract.model import DirectorySource, ModelOptions
from embedding_serving.contract.reports import Report
from embedding_serving.contract.settings import EmbedSettings, PrepareSettings, to_env

REVISION = "1a2b3c4d"
MODEL_NAME = "minilm"
DEADLINE_SECONDS = 60.0


@dataclass(frozen=True)
class Prepared:
    """A prepared model, and the fingerprint that `prepare` reported."""

    weights_dir: Path
    fingerprint: str


def prepare(source: Path, weights_dir: Path, options: ModelOptions | None = None) -> Prepared:
    settings = PrepareSettings(
        revision=REVISION,
        weights_dir=str(weights_dir),
        termination_path=str(weights_dir.with_suffix(".report")),
        source=DirectorySource(path=str(source)),
        options=options or ModelOptions(),
    )
    weights_dir.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(_command("prepare"), env=_env(to_env(settings)), capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    report = Report.parse(Path(settings.termination_path).read_text())
    assert report is not None
    assert report.fingerprint is not None
    return Prepared(weights_dir, report.fingerprint)


@dataclass
class EmbedServer:
    process: subprocess.Popen[bytes]
    log_path: Path
    report_path: Path
    _ports: dict[str, int] = field(default_factory=dict)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port('port')}"

    @property
    def admin_url(self) -> str:
        return f"http://127.0.0.1:{self._port('admin_port')}"

    @property
    def port(self) -> int:
        return self._port("port")

    def log(self) -> str:
        return self.log_path.read_text()

    def ready(self) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"{self.admin_url}/readyz").status_code == 200
        return False

    def terminate(self) -> None:
        self.process.send_signal(signal.SIGTERM)

    def metric(self, name: str) -> float:
        """Value of a metric without labels, or the sum over its labels."""
        text = httpx.get(f"{self.admin_url}/metrics").text
        lines = re.findall(rf"^{name}(?:{{[^}}]*}})? ([0-9.e+-]+)$", text, re.MULTILINE)
        assert lines, f"no metric {name}"
        return sum(map(float, lines))

    def ended(self) -> tuple[int, Report | None]:
        """Exit code, and the report in the termination message."""
        code = self.process.wait(DEADLINE_SECONDS)
        return code, Report.parse(self.report_path.read_text() if self.report_path.exists() else None)

    def _port(self, name: str) -> int:
        """The server takes free ports and says which."""
        if not self._ports:
            wait_until(lambda: '"listening"' in self.log() or self.process.poll() is not None, self.log)
            lines = [json.loads(line) for line in self.log().splitlines() if '"listening"' in line]
            assert lines, self.log()
            self._ports = {key: lines[0][key] for key in ("port", "admin_port")}
        return self._ports[name]


@contextlib.contextmanager
def started(prepared: Prepared, work: Path, **settings: object) -> Iterator[EmbedServer]:
    """A server that may not be ready yet. Killed at the end."""
    values: dict[str, object] = {
        "revision": REVISION,
        "model_name": MODEL_NAME,
        "weights_dir": str(prepared.weights_dir),
        "termination_path": str(work / "report"),
        "port": 0,
        "admin_port": 0,
        "drain_seconds": 0.0,
    }
    env = to_env(EmbedSettings.model_validate(values | {k: v for k, v in settings.items() if k != "redis_url"}))
    if "redis_url" in settings:
        env["EO_REDIS_URL"] = str(settings["redis_url"])
    log_path = work / "log"
    with log_path.open("wb") as log:
        process = subprocess.Popen(_command("embed"), env=_env(env), stdout=log, stderr=log)
    try:
        yield EmbedServer(process, log_path, work / "report")
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def serving(prepared: Prepared, work: Path, **settings: object) -> Iterator[EmbedServer]:
    with started(prepared, work, **settings) as server:
        wait_until(lambda: server.ready() or server.process.poll() is not None, server.log)
        assert server.process.poll() is None, server.log()
        yield server


def wait_until(condition: Callable[[], bool], explain: Callable[[], str] = str) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, f"the condition never became true. {explain()}"
        time.sleep(0.02)


def _command(role: str) -> list[str]:
    return [sys.executable, "-m", "embedding_serving", role]


def _env(settings: Mapping[str, str]) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("EO_")}
    return inherited | {"PYTHONPATH": os.pathsep.join(sys.path)} | dict(settings)
