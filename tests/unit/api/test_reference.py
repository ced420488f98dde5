"""docs/reference.md follows the models."""

from pathlib import Path

import pytest

from embedding_operator import reference

PAGE = Path(__file__).parents[3] / "docs" / "reference.md"


def test_the_committed_page_is_what_the_models_say() -> None:
    assert PAGE.read_text() == reference.render(), "run python -m embedding_operator docs"


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


def test_no_row_of_a_table_is_broken() -> None:
    rows = [line for line in PAGE.read_text().splitlines() if line.startswith("|")]
    assert len(rows) > 200
    assert {line.replace("\\|", "").count("|") for line in rows} == {4}


def test_check_fails_on_an_old_page_and_leaves_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "reference.md"
    page.write_text("old")
    assert reference.main(["--file", str(page), "--check"]) == 1
    assert str(page) in capsys.readouterr().err
    assert page.read_text() == "old"
    assert reference.main(["--file", str(page)]) == 0
    assert page.read_text() == reference.render()
