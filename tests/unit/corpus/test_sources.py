"""What the sources make of files, control paragraphs and the index of man pages."""

from pathlib import Path

import pytest

from corpus.debian import descriptions
from corpus.document import MOST_CHARACTERS, readable
from corpus.manual import summaries
from corpus.python import docstrings

MODULE = '''"""A module about the tides of the sea."""

raise SystemExit("imported!")

class Tide:
    """How high the water stands at a place."""

    def height(self):
        """The height above the mean level, in metres.

        It is an estimate: wind moves the water too.
        """

    def _private(self):
        """Not for anybody who searches for tides."""

def moon():
    """Too short."""
'''


@pytest.fixture
def library(tmp_path: Path) -> Path:
    for name, text in {
        "tides.py": MODULE,
        "broken.py": "def (:",
        "nul.py": '"""A module with a byte that is none."""\0',
        "_hidden.py": '"""A private module that nobody should find."""',
        "sea/__init__.py": '"""A package about the sea and its shores."""',
        "sea/salt.py": '"""Salinity of the water of all the seas."""',
        "sea/deep/trench.py": '"""The deepest places of the oceans are trenches."""',
        "sea/tests/test_salt.py": '"""Tests are not what people look for here."""',
    }.items():
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path


def test_docstrings_are_found_without_importing(library: Path) -> None:
    found = {one.id: one for one in docstrings([library], modules=10, paragraphs=1)}
    assert set(found) == {
        "python:tides",
        "python:tides.Tide",
        "python:tides.Tide.height",
        "python:sea",
        "python:sea.salt",
        "python:sea.deep.trench",
    }
    assert found["python:tides.Tide.height"].text == "The height above the mean level, in metres."
    assert found["python:tides.Tide"].metadata == {
        "source": "python",
        "package": "tides",
        "section": "class",
        "words": 8,
        "module": "tides",
    }


def test_paragraphs_are_documents_of_their_own_where_lines_are_wanted(library: Path) -> None:
    found = {one.id: one.text for one in docstrings([library], modules=10, paragraphs=5)}
    assert found["python:tides.Tide.height#2"] == "It is an estimate: wind moves the water too."


def test_a_package_gives_the_modules_nearest_to_its_top(library: Path) -> None:
    found = {one.metadata["module"] for one in docstrings([library], modules=2, paragraphs=1)}
    assert found == {"tides", "sea", "sea.salt"}


def test_a_folder_that_is_not_there_gives_nothing(tmp_path: Path) -> None:
    assert list(docstrings([tmp_path / "gone"], modules=10, paragraphs=1)) == []


def test_packages_that_differ_in_a_variant_are_one() -> None:
    control = """Package: libtide-dev
Section: universe/libdevel
Description: predictions of tides in harbours (development files)

Package: libtide1
Section: libs
Maintainer: somebody who is not a description of anything
 and goes on
Description: predictions of tides in harbours
 Harmonic constants of many
 places are included.
 .
 A second paragraph.

Package: moon
Description: phases of the moon on a terminal
 It draws them.
"""
    found = list(descriptions(control.splitlines(keepends=True)))
    assert [one.id for one in found] == ["debian:libtide-dev", "debian:moon"]
    assert found[0].metadata["section"] == "libdevel"
    assert found[1].text == "phases of the moon on a terminal. It draws them."


def test_a_long_description_gives_its_first_paragraph() -> None:
    control = "Package: t\nDescription: tides of the sea\n High and low\n water.\n .\n More.\n"
    assert [one.text for one in descriptions(control.splitlines(keepends=True))] == ["tides of the sea. High and low water."]


def test_man_pages_of_one_summary_are_one_and_those_without_are_left_out() -> None:
    lines = [
        "tide (1)             - print the tides of a harbour",
        "tides (1)            - print the tides of a harbour",
        "ebb (3posix)         - (unknown subject)",
        "no entry at all",
        "moon.conf (5)        - configuration of the phases of the moon",
    ]
    assert {one.id: one.text for one in summaries(lines)} == {
        "man:tide.1": "print the tides of a harbour",
        "man:moon.conf.5": "configuration of the phases of the moon",
    }


@pytest.mark.parametrize("text", ["", "three short words", "x = {1: 2, 3: 4}; y[0] += 17 * (3 - 4)", "-- == -- == -- =="])
def test_what_is_no_prose_is_left_out(text: str) -> None:
    assert readable(text) is None


def test_a_long_text_is_cut_between_words() -> None:
    cut = readable("tide " * 1_000)
    assert cut is not None
    assert len(cut) <= MOST_CHARACTERS + 2
    assert cut.endswith("tide …")
