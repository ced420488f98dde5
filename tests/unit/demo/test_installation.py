"""Whose the operators of a cluster are."""

from __future__ import annotations

import json
from typing import Any, cast

import pytest

from cluster import Cluster, ClusterError
from demo.installation import Installed, others_acting_in, sole_use


class _Deployments:
    name = "unit-test"

    def __init__(self, *deployments: dict[str, Any]) -> None:
        self._deployments = deployments

    def kubectl(self, *_: str) -> str:
        return json.dumps({"items": self._deployments})


def _operator(namespace: str, watched: str) -> dict[str, Any]:
    environment = [{"name": "EO_OPERATOR_WATCH_NAMESPACES", "value": watched}]
    pod = {"spec": {"containers": [{"name": "operator", "env": environment}]}}
    labels = {"app.kubernetes.io/instance": f"release-of-{namespace}"}
    return {"metadata": {"namespace": namespace, "labels": labels}, "spec": {"template": pod}}


def test_another_operator_counts_where_it_acts_in_the_namespace() -> None:
    known = [_operator("all", ""), _operator("same", "a,demo"), _operator("apart", "a,b"), _operator("ours", "demo")]
    found = others_acting_in(cast(Cluster, _Deployments(*known)), "demo", operator_namespace="ours")
    assert found == [Installed("release-of-all", "all"), Installed("release-of-same", "same")]


def test_operators_belong_to_one_run_at_a_time() -> None:
    cluster = cast(Cluster, _Deployments())
    with sole_use(cluster), pytest.raises(ClusterError, match="wait for their end"), sole_use(cluster):
        pass
    with sole_use(cluster):
        pass
