"""docs/reference.md and docs/settings.md follow the models."""

from pathlib import Path

import pytest

from embedding_operator import reference

DOCS = Path(__file__).parents[3] / "docs"
PAGE = DOCS / "reference.md"
SETTINGS = DOCS / "settings.md"


@pytest.mark.parametrize(("name", "text"), reference.pages().items())
def test_the_committed_page_is_what_the_models_say(name: str, text: str) -> None:
    assert (DOCS / name).read_text() == text, "run python -m embedding_operator docs"


@pytest.mark.parametrize(
    "row",
    [
        "| **`model.source.huggingFace.revision`** | string |",
        "| `model.precision` | `Float32`, `BFloat16`, `Float16`, `Int8` |",
        "| `autoscaling` | object |",
        "| **`storage.size`** | quantity |",
        "| `shards` | integer, 1 to 256 |",
        "- spec.storage.size: may only grow",
    ],
)
def test_the_page_tells_name_type_and_rules(row: str) -> None:
    assert row in PAGE.read_text()


@pytest.mark.parametrize(
    "row",
    [
        "| `EO_OPERATOR_WATCH_NAMESPACES` | list, separated by commas | none |",
        "| `EO_OPERATOR_RESYNC_SECONDS` | number, above 0 | `600` |",
        "| **`EO_REVISION`** | text | required |",
        "| **`EO_SOURCE`** | JSON object | required |",
        "| `EO_HTTP_ALLOWED_HOSTS` | JSON list | none |",
        "| `EO_SELF_CHECK` | `Enforce`, `Warn` | `Enforce` |",
        "| `EO_REDIS_URL` | secret text | none |",
        "| `EO_MAX_QUEUED_TOKENS` | integer, at least 1 | `65536` |",
    ],
)
def test_a_setting_tells_its_variable_type_and_default(row: str) -> None:
    assert row in SETTINGS.read_text()


@pytest.mark.parametrize(("page", "fewest", "bars"), [(PAGE, 200, 4), (SETTINGS, 40, 5)])
def test_no_row_of_a_table_is_broken(page: Path, fewest: int, bars: int) -> None:
    rows = [line for line in page.read_text().splitlines() if line.startswith("|")]
    assert len(rows) > fewest
    assert {line.replace("\\|", "").count("|") for line in rows} == {bars}


def test_check_fails_on_an_old_page_and_leaves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    reference.main(["--directory", str(tmp_path)])
    for name, text in reference.pages().items():
        page = tmp_path / name
        page.write_text("old")
        assert reference.main(["--directory", str(tmp_path), "--check"]) == 1
        assert str(page) in capsys.readouterr().err
        assert page.read_text() == "old"
        assert reference.main(["--directory", str(tmp_path)]) == 0
        assert page.read_text() == text
