"""The operator's rights: enough for what its code touches, and nothing that could reach further."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from embedding_operator import resources
from embedding_operator.resources import Resource
from unit.chart.rendering import NAMESPACE, Manifest, of_kind, one, render

READ = {"get", "list", "watch"}
OWN_KINDS = {resources.EMBEDDING_MODEL, resources.VECTOR_INDEX, resources.SEARCH_SERVICE}
NOT_WATCHED = {resources.LEASE, resources.EVENT, resources.SECRET, resources.RESOURCE_QUOTA, resources.STORAGE_CLASS}
NOT_MADE = {resources.POD, resources.PVC}
KNOWN = {value for value in vars(resources).values() if isinstance(value, Resource)}
EVERYWHERE: list[str] = []
TWO_NAMESPACES = ['watchNamespaces=["red","blue"]']


def _rules(*values: str) -> list[dict[str, Any]]:
    return [rule for kind in ("ClusterRole", "Role") for role in of_kind(render(*values), kind) for rule in role["rules"]]


def _verbs(rules: list[dict[str, Any]], group: str, resource: str) -> set[str]:
    matching = (rule for rule in rules if group in rule["apiGroups"] and resource in rule["resources"])
    return {verb for rule in matching for verb in rule["verbs"]}


def test_without_namespaces_one_cluster_role_covers_all_of_them() -> None:
    manifests = render()
    assert one(manifests, "ClusterRoleBinding")["roleRef"]["name"] == one(manifests, "ClusterRole")["metadata"]["name"]
    assert [role["metadata"]["namespace"] for role in of_kind(manifests, "Role")] == [NAMESPACE]


def test_with_namespaces_it_has_rights_in_those_alone() -> None:
    manifests = render(*TWO_NAMESPACES)
    assert not of_kind(manifests, "ClusterRole")
    assert not of_kind(manifests, "ClusterRoleBinding")
    in_namespaces = {
        binding["metadata"]["namespace"]: binding["roleRef"]["name"] for binding in of_kind(manifests, "RoleBinding")
    }
    assert set(in_namespaces) == {"red", "blue", NAMESPACE}
    roles = {(role["metadata"]["namespace"], role["metadata"]["name"]) for role in of_kind(manifests, "Role")}
    assert roles == set(in_namespaces.items())


def test_a_namespace_gives_the_same_rights_as_the_whole_cluster_does() -> None:
    (in_red,) = (role for role in of_kind(render(*TWO_NAMESPACES), "Role") if role["metadata"]["namespace"] == "red")
    assert in_red["rules"] == one(render(), "ClusterRole")["rules"]


def test_every_binding_is_for_the_operators_own_account() -> None:
    for manifests in (render(), render(*TWO_NAMESPACES)):
        account = one(manifests, "ServiceAccount")["metadata"]
        for kind in ("ClusterRoleBinding", "RoleBinding"):
            for binding in of_kind(manifests, kind):
                expected = {"kind": "ServiceAccount", "name": account["name"], "namespace": account["namespace"]}
                assert binding["subjects"] == [expected]


def test_everything_that_the_code_reads_may_be_read() -> None:
    rules = _rules()
    for resource in KNOWN - NOT_WATCHED:
        assert _verbs(rules, resource.group, resource.plural) >= READ, resource


def test_everything_that_it_makes_may_be_created_applied_and_deleted() -> None:
    rules = _rules()
    for resource in KNOWN - NOT_WATCHED - OWN_KINDS - NOT_MADE:
        assert _verbs(rules, resource.group, resource.plural) == {*READ, "create", "patch", "update", "delete"}, resource


def test_of_its_own_kinds_it_writes_the_status_alone() -> None:
    rules = _rules()
    for resource in OWN_KINDS:
        assert _verbs(rules, resource.group, resource.plural) == READ
        assert _verbs(rules, resource.group, f"{resource.plural}/status") == {"patch"}


def test_pods_are_looked_at_and_never_touched() -> None:
    assert _verbs(_rules(), "", "pods") == READ


def test_volumes_are_made_by_others() -> None:
    assert "create" not in _verbs(_rules(), "", "persistentvolumeclaims")


def test_only_its_own_lease_may_be_taken_and_only_its_own_key_read() -> None:
    manifests = render()
    rules = [rule for rule in one(manifests, "Role")["rules"] if rule["verbs"] != ["create"]]
    settings = {entry["name"]: entry.get("value") for entry in _environment(manifests)}
    named = [(rule["resources"], rule["verbs"], rule["resourceNames"]) for rule in rules]
    assert named == [
        (["leases"], ["get", "update"], [settings["EO_OPERATOR_LEASE_NAME"]]),
        (["secrets"], ["get"], [settings["EO_OPERATOR_ADMIN_KEY_NAME"]]),
    ]


def test_where_it_acts_it_reads_no_secret() -> None:
    for rule in one(render(), "ClusterRole")["rules"]:
        assert "secrets" not in rule["resources"]


def _environment(manifests: list[Manifest]) -> Iterator[dict[str, Any]]:
    yield from one(manifests, "Deployment")["spec"]["template"]["spec"]["containers"][0]["env"]


@pytest.mark.parametrize("values", [EVERYWHERE, TWO_NAMESPACES], ids=["cluster-wide", "namespaced"])
def test_no_rule_reaches_others_secrets_or_hands_out_rights(values: list[str]) -> None:
    for rule in _rules(*values):
        assert "*" not in [*rule["apiGroups"], *rule["resources"], *rule["verbs"]]
        assert "rbac.authorization.k8s.io" not in rule["apiGroups"]
        assert not {"bind", "escalate", "impersonate", "deletecollection"} & set(rule["verbs"])
        assert "secrets" not in rule["resources"] or rule["verbs"] == ["create"] or rule.get("resourceNames")
        assert not {"pods/exec", "serviceaccounts/token", "nodes"} & set(rule["resources"])


def test_rights_may_come_from_somewhere_else() -> None:
    manifests = render("rbac.create=false", 'serviceAccount.existingName="given"')
    assert not [manifest for manifest in manifests if "rbac" in manifest["apiVersion"] or manifest["kind"] == "ServiceAccount"]
    assert one(manifests, "Deployment")["spec"]["template"]["spec"]["serviceAccountName"] == "given"
