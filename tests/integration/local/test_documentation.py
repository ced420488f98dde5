"""What docs/api-search.md and docs/local.md show is typed into a shell, in their order, and answered by `local` as they say."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fixtures.models import minilm_directory
from integration.local.test_local import Local, running
from unit.docs.pages import Page, page
from unit.docs.transcript import transcript

SHOWN = "localhost:8080"
SECONDS = 60
END = "@@ end of an answer @@"
IN_CODE = re.compile(r"^`(.+)`$")

pytestmark = pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="the pages use curl and jq")


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory is named as in the pages."""
    return Path(shutil.copytree(minilm_directory(), tmp_path_factory.mktemp("models") / "minilm"))


@pytest.fixture
def local(model: Path, tmp_path: Path) -> Iterator[Local]:
    """With an empty index."""
    with running(model, tmp_path / "data") as found:
        yield found


@pytest.mark.parametrize("shown", [page("api-search.md"), page("local.md")], ids=str)
def test_what_a_page_shows_is_answered(shown: Page, local: Local, tmp_path: Path) -> None:
    address = f"localhost:{local.client.base_url.port}"
    typed = transcript(shown)
    assert typed
    commands = [f"{one.command.replace(SHOWN, address)}\nprintf '{END}'" for one in typed]
    done = subprocess.run(["bash", "-c", "\n".join(commands)], cwd=tmp_path, capture_output=True, text=True, timeout=SECONDS)
    assert done.stderr == ""
    for one, answer in zip(typed, done.stdout.split(END)[:-1], strict=True):
        assert one.fits(answer), f"{one.command}\nthe page: {one.answer}\nin truth: {answer}"


def test_conditions_match_what_the_page_says(local: Local) -> None:
    shown = page("api-search.md")
    tables = [[cell.replace("\\|", "|") for cell in row] for row in shown.rows("Filters")]
    documents = [row for row in tables if len(row) == 2 and re.fullmatch("[a-z]", row[0])]
    conditions = [row for row in tables if len(row) == 3]
    assert (len(documents), len(conditions) > 15) == (5, True)
    written = [{"id": id_, "text": "a text", "metadata": json.loads(_code(metadata))} for id_, metadata in documents]
    local.post("/v1/documents", {"documents": written})
    for condition, ids, _ in conditions:
        body = {"filter": {"must": [json.loads(_code(condition))]}, "include": [], "consistency": "strong"}
        found = [one["id"] for one in local.post("/v1/documents/scroll", body)["documents"]]
        assert found == ids.split(", "), condition


def _code(cell: str) -> str:
    match = IN_CODE.fullmatch(cell)
    assert match is not None, cell
    return match[1]
