"""The processes that together are the host cluster: how each is started, and how one tells that it works."""

from __future__ import annotations

import hashlib
import http.client
import ssl
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from cluster import binaries, config, containerd, layout, pki

_PKI = layout.PKI
_CONFIG = layout.CONFIG
Probe = Callable[[], bool]

NAMES = (
    "etcd",
    "containerd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kubelet",
    "kube-proxy",
    "coredns",
    "metrics-server",
    "volume-reclaimer",
)


@dataclass(frozen=True)
class Part:
    """One process. Files are written before it starts.

    Another command line or other files make it another part, which has to be started anew. `made_of`, if given, stands
    for the command line in this: two checkouts and two interpreters run the same program.
    """

    name: str
    argv: tuple[str, ...]
    healthy: Probe
    files: dict[Path, str] = field(default_factory=dict)
    env: dict[str, str] = field(default_factory=dict)
    made_of: tuple[str, ...] = ()

    @property
    def fingerprint(self) -> str:
        files = sorted((str(path), text) for path, text in self.files.items())
        content = repr((self.made_of or (self.argv, self.env), files, pki.fingerprint()))
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def container_runtime() -> Part:
    return Part(
        "containerd",
        ("/usr/bin/containerd", "--config", str(_CONFIG / "containerd.toml")),
        containerd.works,
        {_CONFIG / "containerd.toml": config.containerd(), _CONFIG / "cni" / "10-pods.conflist": config.cni()},
    )


def etcd() -> Part:
    client, peer = (f"http://127.0.0.1:{port}" for port in (layout.ETCD_PORT, layout.ETCD_PEER_PORT))
    return Part(
        "etcd",
        (
            _program("etcd"),
            f"--name={layout.NODE_NAME}",
            f"--data-dir={layout.STATE / 'etcd'}",
            f"--listen-client-urls={client}",
            f"--advertise-client-urls={client}",
            f"--listen-peer-urls={peer}",
            f"--initial-advertise-peer-urls={peer}",
            f"--initial-cluster={layout.NODE_NAME}={peer}",
            "--unsafe-no-fsync",  # a killed process loses nothing by it, only a machine that loses power
            "--auto-compaction-retention=5m",
            "--log-level=warn",
        ),
        _answers("127.0.0.1", layout.ETCD_PORT, "/health", tls=False),
    )


def apiserver() -> Part:
    policy = _CONFIG / "audit-policy.yaml"
    return Part(
        "kube-apiserver",
        (
            _program("kube-apiserver"),
            f"--advertise-address={layout.NODE_IP}",
            f"--bind-address={layout.NODE_IP}",
            f"--secure-port={layout.API_PORT}",
            f"--etcd-servers=http://127.0.0.1:{layout.ETCD_PORT}",
            f"--service-cluster-ip-range={layout.SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            "--allow-privileged=true",
            f"--client-ca-file={_PKI / 'cluster-ca.crt'}",
            *_serving("apiserver"),
            f"--kubelet-client-certificate={_PKI / 'apiserver-to-kubelet.crt'}",
            f"--kubelet-client-key={_PKI / 'apiserver-to-kubelet.key'}",
            f"--kubelet-certificate-authority={_PKI / 'cluster-ca.crt'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--requestheader-client-ca-file={_PKI / 'front-proxy-ca.crt'}",
            "--requestheader-allowed-names=front-proxy",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={_PKI / 'front-proxy.crt'}",
            f"--proxy-client-key-file={_PKI / 'front-proxy.key'}",
            "--enable-aggregator-routing=true",  # an aggregated API may live on the host, behind an EndpointSlice
            f"--service-account-issuer=https://kubernetes.default.svc.{layout.DOMAIN}",
            f"--service-account-key-file={_PKI / 'service-account.pub'}",
            f"--service-account-signing-key-file={_PKI / 'service-account.key'}",
            f"--audit-policy-file={policy}",
            f"--audit-log-path={layout.AUDIT_LOG}",
            "--audit-log-maxsize=64",
            "--audit-log-maxbackup=4",
        ),
        _answers(layout.NODE_IP, layout.API_PORT, "/readyz", certificate=(_PKI / "admin.crt", _PKI / "admin.key")),
        {policy: config.audit_policy()},
    )


def controller_manager() -> Part:
    return Part(
        "kube-controller-manager",
        (
            _program("kube-controller-manager"),
            *_as_client("controller-manager"),
            "--bind-address=127.0.0.1",
            "--leader-elect=false",
            "--use-service-account-credentials=true",
            f"--service-account-private-key-file={_PKI / 'service-account.key'}",
            f"--root-ca-file={_PKI / 'cluster-ca.crt'}",
            f"--cluster-signing-cert-file={_PKI / 'cluster-ca.crt'}",
            f"--cluster-signing-key-file={_PKI / 'cluster-ca.key'}",
            f"--flex-volume-plugin-dir={layout.STATE / 'flexvolumes'}",
            "--horizontal-pod-autoscaler-sync-period=5s",
            "--pvclaimbinder-sync-period=2s",
        ),
        _answers("127.0.0.1", 10257, "/healthz"),
    )


def scheduler() -> Part:
    return Part(
        "kube-scheduler",
        (_program("kube-scheduler"), *_as_client("scheduler"), "--bind-address=127.0.0.1", "--leader-elect=false"),
        _answers("127.0.0.1", 10259, "/healthz"),
    )


def kubelet() -> Part:
    file = _CONFIG / "kubelet.yaml"
    return Part(
        "kubelet",
        (
            _program("kubelet"),
            f"--config={file}",
            f"--kubeconfig={_PKI / 'kubelet.kubeconfig'}",
            f"--hostname-override={layout.NODE_NAME}",
            f"--node-ip={layout.NODE_IP}",
            f"--root-dir={layout.KUBELET_ROOT}",
        ),
        _answers("127.0.0.1", 10248, "/healthz", tls=False),
        {file: config.kubelet()},
    )


def kube_proxy() -> Part:
    file = _CONFIG / "kube-proxy.yaml"
    return Part(
        "kube-proxy",
        (_program("kube-proxy"), f"--config={file}"),
        _answers("127.0.0.1", 10256, "/healthz", tls=False),
        {file: config.kube_proxy()},
    )


def coredns() -> Part:
    file = _CONFIG / "Corefile"
    return Part(
        "coredns",
        (_program("coredns"), "-conf", str(file)),
        _answers(layout.NODE_IP, layout.COREDNS_READY_PORT, "/ready", tls=False),
        {file: config.corefile()},
    )


def metrics_server() -> Part:
    return Part(
        "metrics-server",
        (
            _program("metrics-server"),
            *_as_client("metrics-server"),
            f"--bind-address={layout.NODE_IP}",
            f"--secure-port={layout.METRICS_PORT}",
            *_serving("metrics-server-serving"),
            "--metric-resolution=10s",
            "--kubelet-request-timeout=5s",
            "--kubelet-insecure-tls",
            "--kubelet-preferred-address-types=InternalIP",
        ),
        _answers(layout.NODE_IP, layout.METRICS_PORT, "/livez"),
    )


def volume_reclaimer() -> Part:
    return Part(
        "volume-reclaimer",
        (sys.executable, "-m", "cluster.reclaimer"),
        lambda: True,  # it has no door to knock on: alive is well
        env={"PYTHONPATH": str(layout.SOURCE.parent)},
        made_of=tuple((layout.SOURCE / name).read_text() for name in ("reclaimer.py", "volumes.py", "kubeapi.py")),
    )


def clients_of_the_api() -> list[Part]:
    """All that only makes sense once the API server answers."""
    return [
        controller_manager(),
        scheduler(),
        kubelet(),
        kube_proxy(),
        coredns(),
        metrics_server(),
        volume_reclaimer(),
    ]


def _program(name: str) -> str:
    return str(binaries.program(name))


def _serving(name: str) -> tuple[str, str]:
    return f"--tls-cert-file={_PKI / name}.crt", f"--tls-private-key-file={_PKI / name}.key"


def _as_client(name: str) -> tuple[str, ...]:
    file = _PKI / f"{name}.kubeconfig"
    return f"--kubeconfig={file}", f"--authentication-kubeconfig={file}", f"--authorization-kubeconfig={file}"


def _answers(host: str, port: int, path: str, *, tls: bool = True, certificate: tuple[Path, Path] | None = None) -> Probe:
    """A probe that is true when this address answers 200. It tests life, not identity."""

    def probe() -> bool:
        if tls:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
            if certificate:
                context.load_cert_chain(*certificate)
            connection: http.client.HTTPConnection = http.client.HTTPSConnection(host, port, timeout=3, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=3)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return probe
