"""docs/api-search.md says what a gateway does; its examples are run by tests/integration/local/test_documentation.py."""

import ast
import json
import re
from pathlib import Path

import pytest

from embedding_serving.contract.admin import Refusal
from embedding_serving.contract.index import MAX_ID_BYTES, MAX_METADATA_BYTES, MAX_TEXT_BYTES
from embedding_serving.contract.settings import GatewaySettings, LocalSettings
from embedding_serving.filters import parse
from embedding_serving.filters.parse import MAX_CONDITIONS, MAX_DEPTH, MAX_LIST_VALUES
from embedding_serving.gateway.bulk import IDLE_SECONDS, MAX_LINE_BYTES
from embedding_serving.gateway.document_request import DOCUMENT_MEMBERS
from embedding_serving.gateway.errors import _REMEDIES
from embedding_serving.gateway.keys import KeyFile, Role
from embedding_serving.gateway.openapi import _HEADERS, DOCUMENTED
from embedding_serving.gateway.reads import MAX_PAGE
from embedding_serving.gateway.search_request import DEFAULT_K, FUSED_DEPTH, MEMBERS
from embedding_serving.http.exchange import BODY_SECONDS
from unit.docs.pages import ROOT, page
from unit.docs.sources import arguments
from unit.docs.transcript import Typed, transcript

SERVING = ROOT / "serving" / "embedding_serving"
GATEWAY = sorted((SERVING / "gateway").glob("*.py"))
SHARED = [SERVING / "http" / f"{name}.py" for name in ("body", "exchange", "problems", "surface")]
OF_THE_ADMIN_PORT = {"wrong_index"}
API = page("api-search.md")
IN_CODE = re.compile(r"`([^`]+)`")


def codes_of_failures(file: Path) -> set[str]:
    """Of the classes that carry their code with them, but for what they share."""
    classes = [node for node in ast.parse(file.read_text()).body if isinstance(node, ast.ClassDef)]
    values = [node.value for one in classes for node in one.body if isinstance(node, ast.Assign)]
    return {str(value.value) for value in values if isinstance(value, ast.Constant)} - {"unavailable"}


def default(setting: str) -> int:
    value = GatewaySettings.model_fields[setting].default
    assert isinstance(value, int)
    return value


def test_every_code_of_an_error_is_listed_with_what_to_do_and_no_other() -> None:
    rows = API.rows("Errors")
    listed = {code for row in rows for code in IN_CODE.findall(row[1])}
    answered = arguments([*GATEWAY, *SHARED], "ApiError", 1) - OF_THE_ADMIN_PORT
    from_shards = {
        Refusal.REQUEST_EXPIRED.value,
        Refusal.IDEMPOTENCY_KEY_REUSED.value,
        *(refusal.value for refusal in _REMEDIES),
        "version_conflict",
    }
    failures = [codes_of_failures(SERVING / where / "failures.py") for where in ("gateway", "outgoing")]
    assert listed == answered.union(from_shards, *failures)
    assert all(all(row) for row in rows)


@pytest.mark.parametrize(("method", "path"), DOCUMENTED)
def test_every_endpoint_is_named(method: str, path: str) -> None:
    assert f"`{method} {path}`" in API.text or re.search(rf"`, `{method} {re.escape(path)}`", API.text)


def test_every_member_of_a_body_and_every_header_is_named() -> None:
    words = set(re.findall(r"[\w-]+", " ".join([*API.code(), *API.blocks("console")])))
    members = {name for route in DOCUMENTED.values() for name in [*route.members, *route.parameters]}
    assert members | _HEADERS.keys() <= words, (members | _HEADERS.keys()) - words


@pytest.mark.parametrize(("heading", "members"), [("Search", MEMBERS), ("Store documents", DOCUMENT_MEMBERS)])
def test_every_member_is_explained(heading: str, members: frozenset[str]) -> None:
    assert {name for row in API.rows(heading) for name in IN_CODE.findall(row[0])} == members


def test_every_role_is_explained() -> None:
    assert {row[0].strip("`") for row in API.rows("API keys")} == {role.name.title() for role in Role}


def test_the_entry_of_a_key_in_the_manifest_is_one_that_gateways_read() -> None:
    (entry,) = re.findall(r"^  shop: '(.+)'$", API.text, re.MULTILINE)
    assert KeyFile.model_validate_json(entry).role == "Write"


@pytest.mark.parametrize(
    ("what", "limit"),
    [
        ("body", f"({default('max_body_bytes') >> 20} MiB)"),
        ("hits of a search", f"({default('max_k')})"),
        ("documents, ids or searches of a request", f"({default('max_batch')})"),
        ("an id", f"{MAX_ID_BYTES} bytes"),
        ("a text", f"{MAX_TEXT_BYTES >> 20} MiB"),
        ("metadata of a document", f"{MAX_METADATA_BYTES >> 10} KiB"),
        ("time for a body to arrive", f"{BODY_SECONDS:.0f} s"),
        ("time of a search", f"({GatewaySettings.model_fields['timeout_seconds'].default:.0f} s)"),
    ],
)
def test_a_limit_is_what_the_gateway_has(what: str, limit: str) -> None:
    rows = {row[0]: row[1] for row in API.rows("Limits")}
    assert limit in rows[what]


@pytest.mark.parametrize(
    ("heading", "said"),
    [
        ("Filters", f"up to {MAX_DEPTH} deep, {MAX_CONDITIONS} conditions and {MAX_LIST_VALUES:,} listed values"),
        ("Hybrid", f"The best {FUSED_DEPTH} by meaning"),
        ("Search", f"| `k` | {DEFAULT_K} |"),
        ("Page by page: scroll", f"At most {MAX_PAGE:,} documents"),
        ("Many documents: bulk", f"at most {MAX_LINE_BYTES >> 20} MiB"),
        ("Many documents: bulk", f"nothing for {IDLE_SECONDS:.0f} s"),
        ("Time and request ids", f"{GatewaySettings.model_fields['write_timeout_seconds'].default:.0f} s for writes"),
        ("Caching", f"({default('cache_ttl_seconds')}; 0 turns it off)"),
    ],
)
def test_a_number_is_what_the_gateway_has(heading: str, said: str) -> None:
    assert said in API.section(heading)


def test_every_condition_that_is_shown_is_one() -> None:
    shown = [IN_CODE.findall(row[0])[0] for row in API.rows("Filters") if row[0].startswith("`{")]
    assert len(shown) > 15
    for condition in shown:
        parse({"must": [json.loads(condition)]})


def test_every_option_of_local_is_explained() -> None:
    listed = {option for row in page("local.md").rows("Options") for option in IN_CODE.findall(row[0])}
    options = {f"--{name.replace('_', '-')}" for name in LocalSettings.model_fields} - {"--termination-path"}
    assert listed == options


def test_an_answer_fits_what_is_shown_and_no_other_does() -> None:
    (first, second) = transcript(page("local.md"))
    assert second.command.startswith("curl -s localhost:8080/v1/search ")
    assert first.fits(first.answer)
    assert not first.fits(first.answer.replace('"id":"1"', '"id":"3"'))
    assert Typed("", '{"score":0.6…,"b":1}').fits('{"score":0.61234,"b":1}\n')
    assert not Typed("", '{"score":0.6…,"b":1}').fits('{"score":0.7,"b":1}')
