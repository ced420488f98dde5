"""Annotations name a generation: they act once, and say so where they can't."""

from typing import Any

import pytest

from embedding_operator.build import names
from embedding_operator.plan.annotations import open_ones, unheeded
from embedding_serving.contract.route import GenerationRoute, Phase, Refused, Route, TurnedDown


def route(phase: Phase, *, writer: int = 3, other: int | None = None, **more: Any) -> Route:
    numbers = [number for number in (writer, other) if number]
    made = tuple(GenerationRoute(generation=n, hosts=("h",), fingerprint="fp", dimensions=3) for n in numbers)
    values: dict[str, Any] = {"weights": {writer: 100}, "next_generation": 5, "generations": made, "other": other}
    return Route(index="docs", namespace="t", seq=1, epoch=1, phase=phase, writer=writer, **(values | more))


LEFT = Refused(input_hash="x", generation=4, reason=TurnedDown.ROLLED_BACK)
ABORTED = Refused(input_hash="x", generation=4, reason=TurnedDown.ABORTED)
CASES: list[tuple[Route, str, str, str | None]] = [
    (route(Phase.BUILDING, other=4), names.PROMOTE, "4", None),
    (route(Phase.BUILDING, other=4), names.PROMOTE, "3", ""),
    (route(Phase.BUILDING, other=4), names.PROMOTE, "2", "generation 4 is being built"),
    (route(Phase.STABLE), names.PROMOTE, "4", "none is being built"),
    (route(Phase.STABLE), names.PROMOTE, "5", None),
    (route(Phase.STABLE), names.ABORT, "4", "none is being built"),
    (route(Phase.STABLE, refused=ABORTED), names.ABORT, "4", ""),
    (route(Phase.STABLE, writer=4), names.ROLLBACK, "4", "the window is over"),
    (route(Phase.OBSERVING, writer=4, other=3), names.ROLLBACK, "4", None),
    (route(Phase.OBSERVING, other=4, refused=LEFT), names.ROLLBACK, "4", ""),
    (route(Phase.OBSERVING, writer=4, other=3), names.ROLLBACK, "3", "generation 4 takes writes"),
    (route(Phase.STABLE, refused=ABORTED), names.RETRY, "4", None),
    (route(Phase.STABLE), names.RETRY, "4", "nothing"),
    (route(Phase.STABLE), names.PROMOTE, "yes", "by its number"),
    (route(Phase.FENCING, other=4), names.ROLLBACK, "2", None),
]


@pytest.mark.parametrize(("live", "name", "value", "words"), CASES)
def test_what_is_said_of_an_annotation(live: Route, name: str, value: str, words: str | None) -> None:
    found = unheeded(live, {name: value})
    if words is None:
        assert found == {}
    elif words:
        assert words in found[name]
    else:
        assert found == {name: ""}


def test_what_was_acted_upon_asks_for_nothing_until_it_changes() -> None:
    live = route(Phase.STABLE, acted={names.RETRY: "4"})
    assert open_ones(live, {names.RETRY: "4"}) == {}
    assert open_ones(live, {names.RETRY: "5"}) == {names.RETRY: "5"}
