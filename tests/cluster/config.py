"""The configuration files of the node and the control plane, as text."""

from __future__ import annotations

import json
from typing import Any

import yaml

from cluster import layout

_PKI = layout.PKI


def containerd() -> str:
    # restrict_oom_score_adj: without CAP_SYS_RESOURCE runc may not lower a score, and every pod would fail at start.
    # netns_mounts_under_state_dir: what is ours lies under our folder, and nothing of anybody else's does.
    return f"""
version = 2
root = "{layout.CONTAINERD_ROOT}"
state = "{layout.CONTAINERD_STATE}"
oom_score = 0
disabled_plugins = ["io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.aufs", "io.containerd.internal.v1.opt",
  "io.containerd.tracing.processor.v1.otlp", "io.containerd.internal.v1.tracing"]

[grpc]
  address = "{layout.CONTAINERD_SOCKET}"

[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{layout.PAUSE_IMAGE}"
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = "overlayfs"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
        SystemdCgroup = false
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{layout.CNI_PLUGINS}"
    conf_dir = "{layout.CONFIG}/cni"
"""


def cni() -> str:
    return _json(
        {
            "cniVersion": "1.0.0",
            "name": layout.CNI_NETWORK,
            "plugins": [
                {
                    "type": "bridge",
                    "bridge": layout.BRIDGE,
                    "isGateway": True,
                    "ipMasq": True,
                    "hairpinMode": True,  # a pod may reach itself through its Service
                    "ipam": {
                        "type": "host-local",
                        "ranges": [[{"subnet": layout.POD_RANGE, "gateway": layout.NODE_IP}]],
                        "routes": [{"dst": "0.0.0.0/0"}],
                        "dataDir": str(layout.CNI_STATE),
                    },
                },
                {"type": "portmap", "capabilities": {"portMappings": True}},
            ],
        }
    )


def kubelet() -> str:
    return _yaml(
        {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "address": layout.NODE_IP,
            "port": layout.KUBELET_PORT,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": str(_PKI / "cluster-ca.crt")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": str(_PKI / "kubelet-serving.crt"),
            "tlsPrivateKeyFile": str(_PKI / "kubelet-serving.key"),
            "cgroupDriver": "cgroupfs",
            "containerRuntimeEndpoint": f"unix://{layout.CONTAINERD_SOCKET}",
            "clusterDNS": [layout.NODE_IP],
            "clusterDomain": layout.DOMAIN,
            "resolvConf": "",  # the host's name servers are none of the pods' business
            "podLogsDir": str(layout.POD_LOGS),
            "volumePluginDir": str(layout.STATE / "flexvolumes"),
            "failSwapOn": False,
            "oomScoreAdj": 0,
            "registryPullQPS": 0,
            "imageGCHighThresholdPercent": 100,  # no registry could give a collected image back
            "imageGCLowThresholdPercent": 99,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "nodeStatusUpdateFrequency": "5s",
            # Tests kill pods over and over; a wait of minutes before the next start would be all they measure.
            "featureGates": {"KubeletCrashLoopBackOffMax": True},
            "crashLoopBackOff": {"maxContainerRestartPeriod": "5s"},
        }
    )


def kube_proxy() -> str:
    return _yaml(
        {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "iptables",
            "clusterCIDR": layout.POD_RANGE,
            "hostnameOverride": layout.NODE_NAME,
            "bindAddress": layout.NODE_IP,
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "oomScoreAdj": 0,
            "clientConnection": {"kubeconfig": str(_PKI / "kube-proxy.kubeconfig")},
            # The connection-tracking limits are the machine's, not ours to raise.
            "conntrack": {"maxPerCore": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }
    )


def corefile() -> str:
    # No `forward`: a name that the cluster does not know ends here and never leaves the machine.
    return f""".:53 {{
    bind {layout.NODE_IP}
    errors
    ready {layout.NODE_IP}:{layout.COREDNS_READY_PORT}
    kubernetes {layout.DOMAIN} in-addr.arpa ip6.arpa {{
        kubeconfig {_PKI / "coredns.kubeconfig"} {layout.NAME}
        pods insecure
    }}
    cache 30
}}
"""


def audit_policy() -> str:
    """Who changed what, always; who read what, unless it is Kubernetes itself."""
    reads = ["get", "list", "watch"]
    kubernetes_itself = [
        "system:apiserver",
        "system:kube-controller-manager",
        "system:kube-scheduler",
        "system:kube-proxy",
        *(f"system:{name}" for name in ("coredns", "metrics-server", "volume-reclaimer")),
    ]
    leases = [{"group": "coordination.k8s.io", "resources": ["leases"]}]
    return _yaml(
        {
            "apiVersion": "audit.k8s.io/v1",
            "kind": "Policy",
            "omitStages": ["RequestReceived"],
            "rules": [
                {"level": "None", "nonResourceURLs": ["*"]},
                {"level": "None", "verbs": reads, "users": kubernetes_itself},
                {"level": "None", "verbs": reads, "userGroups": ["system:nodes", "system:serviceaccounts:kube-system"]},
                {"level": "None", "users": kubernetes_itself, "resources": leases},
                {"level": "None", "userGroups": ["system:nodes"], "resources": leases},
                {"level": "Metadata"},
            ],
        }
    )


def _yaml(document: dict[str, Any]) -> str:
    return yaml.safe_dump(document, sort_keys=False)


def _json(document: dict[str, Any]) -> str:
    return json.dumps(document, indent=2) + "\n"
