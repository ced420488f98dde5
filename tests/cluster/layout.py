"""Every name, path, address and port of the host cluster, in one place.

To lift the folder into another repository, change NAME and CACHE_NAME; everything else follows from them.
"""

from __future__ import annotations

import os
from pathlib import Path

NAME = "eo-cluster"
CACHE_NAME = "embedding-operator-cluster"
CACHE_ENV = "EO_CLUSTER_CACHE"
VOLUME_COUNT = int(os.environ.get("EO_CLUSTER_VOLUMES", "40"))

SOURCE = Path(__file__).resolve().parent
STATE = Path("/var/lib") / NAME  # kept over kills and restarts, gone after `down`
REMOVED_STATE = Path("/var/lib") / f".{NAME}.removed"  # of the same file system
RUN = Path("/run") / NAME  # mounts and sockets of containerd
LOCK = Path("/run") / f"{NAME}.lock"

PKI = STATE / "pki"
CONFIG = STATE / "config"
LOGS = STATE / "logs"
BIN = STATE / "bin"
VOLUMES = STATE / "volumes"
KUBELET_ROOT = STATE / "kubelet"
POD_LOGS = STATE / "pod-logs"
CONTAINERD_ROOT = STATE / "containerd"
CONTAINERD_STATE = RUN / "containerd"
CNI_STATE = STATE / "cni"
AUDIT_LOG = LOGS / "audit.log"
KUBECONFIG = STATE / "kubeconfig"
GPU_COUNT = STATE / "gpus"

# Not ours to choose: cAdvisor looks for this socket, the shims put theirs beside it, runc's state lies here.
CONTAINERD_SOCKET = Path("/run/containerd/containerd.sock")
SHIM_SOCKETS = Path("/run/containerd/s")
RUNC_STATE = Path("/run/containerd/runc/k8s.io")
CNI_PLUGINS = Path("/usr/lib/cni")

BRIDGE = NAME  # at most 15 characters
NODE_NAME = "local"
NODE_IP = "10.244.0.1"  # the bridge's own address: stable, and reachable from pods and host alike
POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_IP = "10.96.0.1"
DOMAIN = "cluster.local"
CNI_NETWORK = f"{NAME}-pods"

API_PORT = 6443
ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
METRICS_PORT = 4443
KUBELET_PORT = 10250
COREDNS_READY_PORT = 8181
NODE_PORTS = (53, API_PORT, METRICS_PORT, KUBELET_PORT, COREDNS_READY_PORT)  # on NODE_IP
# On 127.0.0.1; the last ones are health and metrics of kubelet, kube-proxy (2), controller manager and scheduler.
LOOPBACK_PORTS = (ETCD_PORT, ETCD_PEER_PORT, 10248, 10249, 10256, 10257, 10259)

STORAGE_CLASS = "local-pool"
PAUSE_IMAGE = f"localhost/{NAME}/pause:1"
CONTAINERD_NAMESPACE = "k8s.io"  # what the CRI plugin reads


def cache() -> Path:
    """Where built binaries are kept between clusters."""
    given = os.environ.get(CACHE_ENV)
    return Path(given) if given else Path.home() / ".cache" / CACHE_NAME
