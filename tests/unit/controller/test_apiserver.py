"""The client of the API server, as far as no server is needed: where its calls go."""

import pytest

from embedding_operator.apiserver import _proxy


@pytest.fixture(autouse=True)
def no_proxy_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


def test_without_a_proxy_calls_go_straight() -> None:
    assert _proxy("https://10.96.0.1:443") is None


def test_the_environments_proxy_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    assert _proxy("https://cluster.example:6443") == "http://proxy:3128"
    assert _proxy("http://cluster.example:8001") is None


def test_an_exception_from_the_proxy_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy:3128")
    monkeypatch.setenv("NO_PROXY", "10.96.0.1,.internal")
    assert _proxy("https://10.96.0.1:443") is None
    assert _proxy("https://api.internal:6443") is None
    assert _proxy("https://elsewhere.example:6443") == "http://proxy:3128"
