"""docs/api-http.md says what the server of a model does."""

import re

import pytest

from embedding_serving.contract.reports import ModelInfo
from embedding_serving.contract.settings import EmbedSettings
from embedding_serving.embed.http.fields import INTERACTIVE_TEXTS
from embedding_serving.embed.http.openapi import DOCUMENTED
from embedding_serving.embed.http.routes import HOT_ROUTES
from embedding_serving.embed.http.surface import build_surface
from embedding_serving.embed.lifecycle import Lifecycle
from embedding_serving.embed.texts import ACCEPTED_INPUT_TYPES
from embedding_serving.http.exchange import BODY_SECONDS
from embedding_serving.prepare.families import FAMILIES, TORCH_FAMILIES
from unit.docs.pages import ROOT, page
from unit.docs.sources import arguments

HTTP = ROOT / "serving" / "embedding_serving" / "embed" / "http"
SHARED = [
    ROOT / "serving" / "embedding_serving" / "http" / f"{name}.py" for name in ("body", "exchange", "problems", "surface")
]
API = page("api-http.md")
IN_CODE = re.compile(r"`([^`]+)`")


def default(setting: str) -> int:
    value = EmbedSettings.model_fields[setting].default
    assert isinstance(value, int)
    return value


def test_every_code_of_an_error_is_listed_and_no_other() -> None:
    files = sorted([*HTTP.glob("*.py"), *SHARED])
    listed = {code for row in API.rows("Errors") for code in IN_CODE.findall(row[1])}
    assert listed == arguments(files, "ApiError", 1)


def test_every_way_to_be_told_429_is_explained() -> None:
    (listed,) = [set(IN_CODE.findall(row[1])) for row in API.rows("Errors") if row[0] == "429"]
    assert listed == {row[0].strip("`") for row in API.rows("429: too many requests")}


@pytest.mark.parametrize("route", [route.path for route in HOT_ROUTES])
def test_every_endpoint_is_named(route: str) -> None:
    assert re.search(rf"POST {re.escape(route)}`|localhost:8080{re.escape(route)} ", API.text), route


def test_every_endpoint_that_is_named_is_there() -> None:
    surface = {getattr(route, "path", "") for route in build_surface(Lifecycle(), "0").routes}
    served = {"POST": {route.path for route in HOT_ROUTES}, "GET": {path.replace("{name}", "<name>") for path in surface}}
    named = re.findall(r"\b(GET|POST) (/[\w/<>]*)", API.text)
    assert len(named) > 10
    assert [f"{method} {path}" for method, path in named if path not in served[method]] == []


def test_every_member_of_a_body_is_named() -> None:
    words = set(re.findall(r"\w+", " ".join([*API.code(), *API.blocks("console", "python")])))
    members = {member for route in DOCUMENTED.values() for member in route.members}
    assert members <= words, members - words


def test_every_role_of_a_text_is_named() -> None:
    listed = {role for row in API.rows("Query or document") for role in IN_CODE.findall(row[0])}
    assert listed == set(ACCEPTED_INPUT_TYPES)


def test_every_member_of_info_is_explained() -> None:
    listed = {name for row in API.rows("Identity: GET /v1/info") for name in IN_CODE.findall(row[0])}
    assert listed == set(ModelInfo.model_fields)


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("body", f"{default('max_body_bytes') >> 20} MiB"),
        ("texts of a request", f"{default('max_texts')}"),
        ("a text", f"{default('max_text_bytes') >> 10} KiB"),
        ("tokens of a request", f"({default('max_queued_tokens')})"),
        ("time for a body to arrive", f"{BODY_SECONDS:.0f} s"),
    ],
)
def test_a_limit_is_what_the_server_has(what: str, limit: str) -> None:
    rows = {row[0]: row[1] for row in API.rows("Limits")}
    assert limit in rows[what]


def test_the_size_of_an_interactive_request_is_what_the_server_has() -> None:
    assert f"up to {INTERACTIVE_TEXTS} texts" in API.section("Limits")


def test_the_architectures_are_those_that_are_converted() -> None:
    slim, torch = page("models.md").rows("Which models")
    assert set(IN_CODE.findall(slim[1])) == set(FAMILIES)
    assert set(IN_CODE.findall(torch[1])) == set(TORCH_FAMILIES)
