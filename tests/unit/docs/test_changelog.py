"""CHANGELOG.md keeps the form of Keep a Changelog."""

import re

from unit.docs.pages import CHANGELOG

VERSION = re.compile(r"\[(Unreleased|\d+\.\d+\.\d+)\]( - \d{4}-\d\d-\d\d)?")
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_every_version_has_the_form_and_the_unreleased_one_comes_first() -> None:
    versions = re.findall(r"^## (.+)$", CHANGELOG.text, re.MULTILINE)
    matched = [found for version in versions if (found := VERSION.fullmatch(version))]
    assert len(matched) == len(versions), versions
    assert matched[0][1] == "Unreleased"
    assert [found[2] is None for found in matched] == [found[1] == "Unreleased" for found in matched]


def test_every_section_is_one_of_the_six_and_has_entries() -> None:
    sections = re.findall(r"^### (.+)\n\n(.)", CHANGELOG.text, re.MULTILINE)
    assert {name for name, _ in sections} <= SECTIONS
    assert sections
    assert all(first == "-" for _, first in sections)
