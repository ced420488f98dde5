from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from cluster import ClusterError, connect, preflight
from cluster.cli import main
from cluster.connect import choose


def test_docker_decides_between_kind_and_host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "docker_answers", lambda: True)
    assert choose("auto", None, None) == ("kind", "a Docker engine answers")
    monkeypatch.setattr(preflight, "docker_answers", lambda: False)
    assert choose("auto", None, None) == ("host", "no Docker engine answers")
    assert choose("kind", None, None)[0] == "kind"


@pytest.mark.parametrize(("kubeconfig", "context"), [("config", None), (None, "prod"), (None, None)])
def test_an_existing_cluster_is_never_guessed(kubeconfig: str | None, context: str | None) -> None:
    with pytest.raises(ClusterError, match="needs both"):
        connect("existing", kubeconfig=Path(kubeconfig) if kubeconfig else None, context=context)


def test_a_kubeconfig_alone_does_not_fall_back_to_another_backend() -> None:
    assert choose("auto", Path("config"), None)[0] == "existing"


def test_an_unknown_backend_is_named() -> None:
    with pytest.raises(ClusterError, match="no backend is called 'minikube'"):
        connect("minikube")


def test_a_person_sees_one_line_and_no_traceback() -> None:
    result = CliRunner().invoke(main, ["--backend", "existing", "up"])
    assert result.exit_code == 1
    assert result.output.startswith("Error: an existing cluster needs both")
    assert len(result.output.splitlines()) == 1
