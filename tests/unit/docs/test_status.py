"""docs/status.md explains every reason that the controller can write, and no other."""

import re

import pytest

from embedding_operator.api.embeddingmodel import RevisionState
from embedding_operator.plan import embedding_model_status, search_service_status, vector_index_status
from embedding_serving.contract.reports import Outcome
from embedding_serving.contract.route import TurnedDown
from unit.docs.pages import ROOT, page
from unit.docs.sources import arguments

OPERATOR = ROOT / "operator" / "embedding_operator"
FILES = [*sorted((OPERATOR / "plan").glob("*.py")), OPERATOR / "loop.py"]
STATUS = page("status.md")
TYPES = {
    "": embedding_model_status.CONDITION_TYPES,
    " of a VectorIndex": vector_index_status.CONDITION_TYPES,
    " of a SearchService": search_service_status.CONDITION_TYPES,
}
"""Conditions of each kind, by the end of the headings of its tables."""
REASON = re.compile(r"`([A-Z]\w+)`")


def written_reasons() -> set[str]:
    """Of conditions and findings; outcomes that pods report become findings but for two, see plan/diagnosis.py."""
    outcomes = set(Outcome) - {Outcome.PREPARED, Outcome.UNAVAILABLE}
    said = arguments(FILES, "Condition", 2) | arguments(FILES, "Finding", 0)
    return said | {outcome.value for outcome in outcomes} | {reason.value for reason in TurnedDown}


def test_every_reason_stands_in_the_table_and_no_other() -> None:
    rows = [row for kind in TYPES for row in STATUS.rows(f"Reasons{kind}")]
    explained = {REASON.fullmatch(row[1])[1] for row in rows}  # type: ignore[index]
    assert written_reasons() == explained


@pytest.mark.parametrize("kind", TYPES)
def test_every_row_says_what_it_means_and_what_to_do(kind: str) -> None:
    for condition, reason, meaning, remedy in STATUS.rows(f"Reasons{kind}"):
        assert condition in TYPES[kind], reason
        assert meaning, reason
        assert remedy, reason


@pytest.mark.parametrize("kind", TYPES)
def test_every_condition_is_explained(kind: str) -> None:
    assert {row[0].strip("`") for row in STATUS.rows(f"Conditions{kind}")} == TYPES[kind]


def test_every_state_of_a_revision_is_explained() -> None:
    assert {row[0].strip("`") for row in STATUS.rows("Revisions")} == {state.value for state in RevisionState}
