"""Every file, anchor, make target and command that a page names is there."""

import re

import pytest

from unit.docs.pages import PAGES, ROOT, WRITTEN, Page

ROOTS = (ROOT, ROOT / "operator" / "embedding_operator", ROOT / "serving" / "embedding_serving")
TARGETS = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_link_leads_somewhere(page: Page) -> None:
    for link in page.links():
        path, _, anchor = link.partition("#")
        target = (page.path.parent / path).resolve() if path else page.path
        assert target.exists(), f"{page}: {link}"
        assert target.is_relative_to(ROOT), f"{page}: {link} leaves the repository"
        if anchor:
            assert anchor in Page(target).anchors(), f"{page}: {link}"


@pytest.mark.parametrize("page", WRITTEN, ids=str)
def test_a_make_target_exists(page: Page) -> None:
    named = re.findall(r"\bmake ([a-z][a-z-]*)", "\n".join([*page.code(), *page.blocks("sh", "console")]))
    assert set(named) <= TARGETS, f"{page}: {set(named) - TARGETS}"


def test_the_readme_has_the_two_commands_and_every_page() -> None:
    readme = next(page for page in PAGES if page.path.name == "README.md")
    assert {"make demo", "make test"} <= set(readme.code())
    linked = {(readme.path.parent / link.partition("#")[0]).resolve() for link in readme.links()}
    assert {page.path for page in PAGES} - {readme.path} <= linked


@pytest.mark.parametrize("page", WRITTEN, ids=str)
def test_a_path_in_code_exists(page: Page) -> None:
    """Paths in the repository or in one of its two packages."""
    for word in page.code():
        if re.fullmatch(r"[a-z][\w-]*/[\w./-]*", word) and (word.endswith(("/", ".py", ".lua", ".yaml")) or "." not in word):
            assert any((root / word).exists() for root in ROOTS), f"{page}: {word}"


def test_the_table_of_concepts_names_files_that_exist() -> None:
    architecture = next(page for page in PAGES if page.path.name == "architecture.md")
    rows = architecture.rows("Where things are")
    assert len(rows) > 20
    for _, files in rows:
        names = re.findall(r"`([^`]+)`", files)
        folder = (ROOT / names[0]).parent
        for name in names:
            assert (ROOT / name).exists() or (folder / name).exists(), name


@pytest.mark.parametrize("page", WRITTEN, ids=str)
def test_a_command_reads_files_that_exist(page: Page) -> None:
    for command in [*page.blocks("sh", "console"), *page.code()]:
        for name in re.findall(r"(?:-f|--file|\binstall \S+|\bupgrade \S+) ([\w.][\w./-]*)", command):
            assert (ROOT / name).exists(), f"{page}: {name}"


def test_no_page_tells_of_a_day() -> None:
    for page in WRITTEN:
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b", page.sentences), str(page)
