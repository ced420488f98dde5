"""The plan sees its snapshot alone: what the operator's own process was started with decides nothing for pods."""

import pytest

from embedding_operator.resources import DEPLOYMENT, Manifest
from fixtures.controller import World


def test_the_operators_own_environment_does_not_reach_the_pods(monkeypatch: pytest.MonkeyPatch) -> None:
    plain, surrounded = World(), World()
    plain.settle()
    for name, value in {"LOG_LEVEL": "DEBUG", "WEIGHTS_DIR": "/elsewhere", "WORKERS": "7", "CACHE_BYTES": "1"}.items():
        monkeypatch.setenv(f"EO_{name}", value)
    surrounded.settle()
    assert _templates(surrounded) == _templates(plain)


def _templates(world: World) -> list[Manifest]:
    return [live["spec"]["template"] for key, live in world.kube.objects.items() if key[0] == DEPLOYMENT]
