"""The Kubernetes resources that the operator reads or writes, and their paths on the API server."""

from dataclasses import dataclass
from typing import Any

Manifest = dict[str, Any]
"""A Kubernetes object as plain JSON. Built in `build/` and nowhere else."""


@dataclass(frozen=True, order=True)
class Resource:
    group: str
    version: str
    plural: str
    kind: str

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None, name: str | None = None, subresource: str | None = None) -> str:
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if namespace else ""
        parts = [root + scope, self.plural, name, subresource]
        return "/".join(part for part in parts if part)


GROUP = "embedding-operator.io"
GROUP_VERSION = f"{GROUP}/v1alpha1"
EMBEDDING_MODEL = Resource(GROUP, "v1alpha1", "embeddingmodels", "EmbeddingModel")
VECTOR_INDEX = Resource(GROUP, "v1alpha1", "vectorindexes", "VectorIndex")
SEARCH_SERVICE = Resource(GROUP, "v1alpha1", "searchservices", "SearchService")

DEPLOYMENT = Resource("apps", "v1", "deployments", "Deployment")
STATEFUL_SET = Resource("apps", "v1", "statefulsets", "StatefulSet")
JOB = Resource("batch", "v1", "jobs", "Job")
SERVICE = Resource("", "v1", "services", "Service")
SERVICE_ACCOUNT = Resource("", "v1", "serviceaccounts", "ServiceAccount")
CONFIG_MAP = Resource("", "v1", "configmaps", "ConfigMap")
PVC = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
POD = Resource("", "v1", "pods", "Pod")
HPA = Resource("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler")
PDB = Resource("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget")
NETWORK_POLICY = Resource("networking.k8s.io", "v1", "networkpolicies", "NetworkPolicy")
INGRESS = Resource("networking.k8s.io", "v1", "ingresses", "Ingress")
HTTP_ROUTE = Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute")
RESOURCE_QUOTA = Resource("", "v1", "resourcequotas", "ResourceQuota")
STORAGE_CLASS = Resource("storage.k8s.io", "v1", "storageclasses", "StorageClass")
SECRET = Resource("", "v1", "secrets", "Secret")
LEASE = Resource("coordination.k8s.io", "v1", "leases", "Lease")
EVENT = Resource("events.k8s.io", "v1", "events", "Event")
