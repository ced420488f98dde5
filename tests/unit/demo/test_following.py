"""When the demo goes on, and when it stops waiting."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, cast

import pytest

from cluster import Cluster
from demo import following
from demo.following import Moment, NotReadyError


class _Answers:
    """A cluster that answers every `kubectl get` with one object."""

    def __init__(self, live: dict[str, Any]) -> None:
        self._live = live

    def kubectl(self, *args: str, **_: object) -> str:
        return json.dumps({"items": []} if args[1] == "pods" else self._live)


def _model(generation: int, **conditions: str) -> Moment:
    listed = [
        {"type": kind, "status": status, "reason": "Because", "message": f"{kind} is so", "observedGeneration": 2}
        for kind, status in conditions.items()
    ]
    live = {"metadata": {"generation": generation}, "status": {"conditions": listed}}
    return following.resource(cast(Cluster, _Answers(live)), "demo", "embeddingmodel", "minilm")


def test_a_model_that_serves_what_its_spec_asks_for_is_ready() -> None:
    assert _model(2, Ready="True", UpToDate="True").ready


@pytest.mark.parametrize("conditions", [{"Ready": "False", "UpToDate": "True"}, {"Ready": "True", "UpToDate": "False"}])
def test_half_of_it_is_not_ready(conditions: dict[str, str]) -> None:
    assert not _model(2, **conditions).ready


def test_conditions_of_an_earlier_spec_say_nothing_of_this_one() -> None:
    assert not _model(3, Ready="True", UpToDate="True").ready
    assert not _model(3, Ready="False", UpToDate="False", Stalled="True").stalled


def test_a_stalled_model_tells_why() -> None:
    moment = _model(2, Ready="False", UpToDate="False", Stalled="True")
    assert moment.stalled
    assert "Stalled is so" in moment.line


def test_a_model_that_nobody_looked_at_says_so() -> None:
    assert "not looked at" in _model(1).line


def _deployment(**status: int) -> Moment:
    live = {
        "metadata": {"generation": 4},
        "spec": {"replicas": 2, "selector": {"matchLabels": {"a": "b"}}},
        "status": status,
    }
    return following.deployment(cast(Cluster, _Answers(live)), "demo", "operator")


def test_a_deployment_is_ready_when_nothing_old_is_left() -> None:
    assert _deployment(observedGeneration=4, replicas=2, updatedReplicas=2, availableReplicas=2).ready
    assert not _deployment(observedGeneration=3, replicas=2, updatedReplicas=2, availableReplicas=2).ready
    assert not _deployment(observedGeneration=4, replicas=3, updatedReplicas=2, availableReplicas=2).ready
    assert not _deployment(observedGeneration=4, replicas=2, updatedReplicas=1, availableReplicas=2).ready


def _sequence(*moments: Moment) -> Callable[[], Moment]:
    left = list(moments)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def test_following_ends_with_what_is_ready(capsys: pytest.CaptureFixture[str]) -> None:
    look = _sequence(Moment("one"), Moment("one"), Moment("two", ready=True))
    assert following.follow(look, deadline_seconds=30).line == "two"
    assert capsys.readouterr().err.split() == ["one", "two"]


def test_following_gives_up_at_its_deadline_with_the_last_line() -> None:
    with pytest.raises(NotReadyError, match="last: still waiting"):
        following.follow(_sequence(Moment("still waiting")), deadline_seconds=0)
