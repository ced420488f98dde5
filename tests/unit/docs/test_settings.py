"""docs/settings.md has every variable that the sources and the chart speak of."""

import re

from unit.docs.pages import ROOT, page

VARIABLE = re.compile(r"\bEO_[A-Z_]+[A-Z]\b")
SOURCES = (
    *(ROOT / "operator").rglob("*.py"),
    *(ROOT / "serving").rglob("*.py"),
    *(ROOT / "charts" / "embedding-operator" / "templates").iterdir(),
)


def test_every_variable_that_is_read_or_set_is_listed() -> None:
    listed = set(VARIABLE.findall(page("settings.md").text))
    named = {name for path in SOURCES for name in VARIABLE.findall(path.read_text())}
    assert len(named) > 10
    assert named <= listed, named - listed
