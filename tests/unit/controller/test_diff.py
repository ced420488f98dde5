"""When a live object is as intended: what the server writes differently is no drift, what somebody changed is."""

import copy
from typing import Any

import pytest

from embedding_operator.plan.diff import drifted, stamped

INTENT: dict[str, Any] = stamped(
    {
        "metadata": {"name": "x", "namespace": "t", "labels": {"a": "b"}},
        "spec": {
            "containers": [
                {
                    "name": "c",
                    "resources": {"limits": {"cpu": "0.5", "memory": "1Gi"}},
                    "env": [{"name": "E", "value": ""}, {"name": "F", "value": "1"}],
                    "args": ["embed"],
                }
            ],
            "volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1024Mi"}}],
            "tolerations": [{"key": "k", "operator": "Exists"}],
        },
    }
)


def live(**changes: Any) -> dict[str, Any]:
    """The intent as the API server would give it back: defaulted, quantities in canonical form."""
    found = copy.deepcopy(INTENT)
    found["metadata"] |= {"uid": "1", "resourceVersion": "7"}
    container = found["spec"]["containers"][0]
    container |= {"resources": {"limits": {"cpu": "500m", "memory": "1Gi"}}, "terminationMessagePath": "/dev/termination-log"}
    del container["env"][0]["value"]
    found["spec"] |= {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "1Gi"}}], "restartPolicy": "Always"} | changes
    return found


def test_what_the_server_writes_differently_is_no_drift() -> None:
    assert not drifted(INTENT, live())


def test_what_others_added_is_no_drift() -> None:
    found = live()
    found["spec"]["containers"].append({"name": "sidecar"})
    found["metadata"]["labels"]["theirs"] = "1"
    assert not drifted(INTENT, found)


@pytest.mark.parametrize(
    "change",
    [
        {"tolerations": []},
        {"tolerations": [{"key": "k", "operator": "Exists"}, {"key": "more"}]},
        {"volumes": [{"name": "v", "emptyDir": {"sizeLimit": "2Gi"}}]},
        {"containers": []},
    ],
)
def test_what_somebody_changed_is_drift(change: dict[str, Any]) -> None:
    assert drifted(INTENT, live(**change))


def test_a_field_that_left_the_intent_is_drift() -> None:
    smaller = {key: value for key, value in INTENT.items() if key != "spec"} | {
        "spec": {key: value for key, value in INTENT["spec"].items() if key != "tolerations"}
    }
    assert drifted(stamped(smaller), live())
