"""What is put into the host cluster's API: the rights of our own processes, the metrics API, the volume pool."""

from __future__ import annotations

import base64
from typing import Any

from cluster import layout, volumes

_RBAC = "rbac.authorization.k8s.io"
_READ = ["get", "list", "watch"]


def manifests() -> list[dict[str, Any]]:
    return [*_coredns(), *_metrics_server(), *_volume_reclaimer(), *volumes.manifests()]


def _coredns() -> list[dict[str, Any]]:
    return _rights(
        "system:coredns",
        _rule("", ["endpoints", "services", "pods", "namespaces"], ["list", "watch"]),
        _rule("discovery.k8s.io", ["endpointslices"], ["list", "watch"]),
    )


def _volume_reclaimer() -> list[dict[str, Any]]:
    return _rights("system:volume-reclaimer", _rule("", ["persistentvolumes"], [*_READ, "patch"]))


def _metrics_server() -> list[dict[str, Any]]:
    """It runs on the host, so its Service has no selector but an address written by hand."""
    user = "system:metrics-server"
    in_system = {"name": "metrics-server", "namespace": "kube-system"}
    authority = base64.b64encode((layout.PKI / "cluster-ca.crt").read_bytes()).decode()
    return [
        *_rights(user, _rule("", ["nodes/metrics"], ["get"]), _rule("", ["pods", "nodes"], _READ)),
        _binding("ClusterRoleBinding", f"{user}:auth-delegator", "ClusterRole", "system:auth-delegator", user),
        _binding(
            "RoleBinding",
            "metrics-server-auth-reader",
            "Role",
            "extension-apiserver-authentication-reader",
            user,
            namespace="kube-system",
        ),
        {
            "apiVersion": f"{_RBAC}/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": "system:aggregated-metrics-reader",
                "labels": {f"{_RBAC}/aggregate-to-{role}": "true" for role in ("view", "edit", "admin")},
            },
            "rules": [_rule("metrics.k8s.io", ["pods", "nodes"], _READ)],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": in_system,
            "spec": {"ports": [{"name": "https", "port": 443, "targetPort": layout.METRICS_PORT}]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {**in_system, "labels": {"kubernetes.io/service-name": "metrics-server"}},
            "addressType": "IPv4",
            "ports": [{"name": "https", "port": layout.METRICS_PORT, "protocol": "TCP"}],
            "endpoints": [{"addresses": [layout.NODE_IP], "conditions": {"ready": True}}],
        },
        {
            "apiVersion": "apiregistration.k8s.io/v1",
            "kind": "APIService",
            "metadata": {"name": "v1beta1.metrics.k8s.io"},
            "spec": {
                "group": "metrics.k8s.io",
                "version": "v1beta1",
                "groupPriorityMinimum": 100,
                "versionPriority": 100,
                "service": in_system,
                "caBundle": authority,
            },
        },
    ]


def _rights(user: str, *rules: dict[str, Any]) -> list[dict[str, Any]]:
    role = {"apiVersion": f"{_RBAC}/v1", "kind": "ClusterRole", "metadata": {"name": user}, "rules": list(rules)}
    return [role, _binding("ClusterRoleBinding", user, "ClusterRole", user, user)]


def _rule(group: str, resources: list[str], verbs: list[str]) -> dict[str, Any]:
    return {"apiGroups": [group], "resources": resources, "verbs": verbs}


def _binding(kind: str, name: str, role_kind: str, role: str, user: str, *, namespace: str | None = None) -> dict[str, Any]:
    return {
        "apiVersion": f"{_RBAC}/v1",
        "kind": kind,
        "metadata": {"name": name, **({"namespace": namespace} if namespace else {})},
        "roleRef": {"apiGroup": _RBAC, "kind": role_kind, "name": role},
        "subjects": [{"apiGroup": _RBAC, "kind": "User", "name": user}],
    }
