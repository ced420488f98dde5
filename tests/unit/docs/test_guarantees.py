"""docs/guarantees.md promises nothing without a test."""

import re

from unit.docs.pages import ROOT, page

TEST = re.compile(r"`(test_\w+)`")
GUARANTEES = page("guarantees.md")
TESTS = {
    name
    for file in (ROOT / "tests").rglob("test_*.py")
    for name in re.findall(r"^ *(?:async )?def (test_\w+)\(", file.read_text(), re.MULTILINE)
}
PROMISES = ("When a write is done", "What a read sees", "When a volume is lost")


def test_every_test_that_is_named_is_there() -> None:
    named = set(TEST.findall(GUARANTEES.text))
    assert len(named) > 20
    assert named <= TESTS, named - TESTS


def test_every_promise_of_a_table_names_its_test() -> None:
    for heading in PROMISES:
        rows = GUARANTEES.rows(heading)
        assert rows, heading
        for row in rows:
            assert TEST.search(row[-1]), row
