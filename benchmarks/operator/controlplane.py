"""A control plane of its own on loopback: etcd, kube-apiserver and kube-controller-manager, without any node.

No other operator and no other test meets it, it begins empty, and its audit log holds the operator's calls alone.
"""

import base64
import contextlib
import ctypes
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import yaml
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from cluster.binaries import program

START_SECONDS = 120
PREFIX = "bench-operator-"
OPERATOR, PERSON, CONTROLLERS = "operator", "person", "controllers"
CRDS = Path(__file__).parents[2] / "crds"
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived", "ResponseStarted"],
    "rules": [{"level": "Metadata", "users": [OPERATOR]}, {"level": "None"}],
}


@dataclass(frozen=True)
class ControlPlane:
    url: str
    folder: Path
    api_server_pid: int

    @property
    def audit_log(self) -> Path:
        return self.folder / "audit.log"

    @property
    def certificate(self) -> Path:
        return self.folder / "apiserver.crt"

    def kubeconfig(self, user: str) -> Path:
        return self.folder / f"{user}.kubeconfig"

    def client(self) -> httpx.AsyncClient:
        """A person with all rights."""
        return httpx.AsyncClient(
            base_url=self.url,
            verify=False,  # noqa: S501 - loopback, and the certificate is a minute old
            headers={"Authorization": f"Bearer {PERSON}"},
            timeout=60,
            limits=httpx.Limits(max_connections=16),
        )


@contextlib.contextmanager
def control_plane() -> Iterator[ControlPlane]:
    """Starts it, installs the CRDs, and leaves nothing behind. Raises RuntimeError with the end of a log."""
    with contextlib.ExitStack() as stack:
        _sweep()
        prefix = f"{PREFIX}{os.getpid()}-"
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix=prefix, ignore_cleanup_errors=True)))
        etcd_port, peer_port, api_port = free_ports(3)
        etcd = stack.enter_context(_started(folder, "etcd", _etcd(folder, etcd_port, peer_port)))
        _await(f"http://127.0.0.1:{etcd_port}/health", etcd, folder / "etcd.log")
        server = stack.enter_context(_started(folder, "kube-apiserver", _api_server(folder, etcd_port, api_port)))
        plane = ControlPlane(f"https://127.0.0.1:{api_port}", folder, server.pid)
        _await(f"{plane.url}/readyz", server, folder / "kube-apiserver.log")
        for user in (OPERATOR, PERSON, CONTROLLERS):
            plane.kubeconfig(user).write_text(_kubeconfig(plane, user))
        stack.enter_context(_started(folder, "kube-controller-manager", _controller_manager(plane)))
        _install_crds(plane)
        yield plane


def _sweep() -> None:
    """Removes what killed runs have left: their processes ended with them, their folders did not."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        owner = folder.name.removeprefix(PREFIX).partition("-")[0]
        if owner.isdigit() and not Path(f"/proc/{owner}").exists():
            shutil.rmtree(folder, ignore_errors=True)


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        probes = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [int(probe.getsockname()[1]) for probe in probes]


def end_with_parent() -> None:
    """In a new child: the kernel ends it when this process is gone, however that came."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)


@contextlib.contextmanager
def _started(folder: Path, name: str, arguments: Sequence[str]) -> Iterator[subprocess.Popen[bytes]]:
    with (folder / f"{name}.log").open("wb") as log:
        command = [str(program(name)), *arguments]
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=end_with_parent)
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def _etcd(folder: Path, port: int, peer_port: int) -> list[str]:
    client, peer = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{peer_port}"
    return [
        f"--data-dir={folder / 'etcd'}",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
        "--unsafe-no-fsync",
        "--log-level=warn",
    ]


def _api_server(folder: Path, etcd_port: int, port: int) -> list[str]:
    key = rsa.generate_private_key(65537, 2048)
    pem = (serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
    (folder / "accounts.key").write_bytes(key.private_bytes(*pem))
    (folder / "policy.yaml").write_text(yaml.safe_dump(AUDIT_POLICY))
    (folder / "tokens.csv").write_text("".join(f"{user},{user},{user}\n" for user in (OPERATOR, PERSON, CONTROLLERS)))
    return [
        "--bind-address=127.0.0.1",
        "--advertise-address=127.0.0.1",
        f"--secure-port={port}",
        f"--etcd-servers=http://127.0.0.1:{etcd_port}",
        f"--cert-dir={folder}",
        f"--token-auth-file={folder / 'tokens.csv'}",
        "--authorization-mode=AlwaysAllow",
        "--service-cluster-ip-range=10.112.0.0/16",
        "--endpoint-reconciler-type=none",
        "--service-account-issuer=https://kubernetes.default.svc",
        f"--service-account-key-file={folder / 'accounts.key'}",
        f"--service-account-signing-key-file={folder / 'accounts.key'}",
        f"--audit-policy-file={folder / 'policy.yaml'}",
        f"--audit-log-path={folder / 'audit.log'}",
        "--audit-log-maxsize=100000",
    ]


def _controller_manager(plane: ControlPlane) -> list[str]:
    return [
        f"--kubeconfig={plane.kubeconfig(CONTROLLERS)}",
        "--leader-elect=false",
        "--secure-port=0",
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
    ]


def _kubeconfig(plane: ControlPlane, user: str) -> str:
    authority = base64.b64encode(plane.certificate.read_bytes()).decode()
    return json.dumps(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "bench",
            "clusters": [{"name": "bench", "cluster": {"server": plane.url, "certificate-authority-data": authority}}],
            "users": [{"name": user, "user": {"token": user}}],
            "contexts": [{"name": "bench", "context": {"cluster": "bench", "user": user}}],
        }
    )


def _await(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while process.poll() is None and time.monotonic() < deadline:
        with contextlib.suppress(httpx.HTTPError):
            answer = httpx.get(url, verify=False, timeout=2, headers={"Authorization": f"Bearer {PERSON}"})  # noqa: S501
            if answer.status_code == 200:
                return
        time.sleep(0.1)
    raise RuntimeError(f"{url} does not answer: {log.read_text(errors='replace')[-2000:]}")


def _install_crds(plane: ControlPlane) -> None:
    group = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
    headers = {"Authorization": f"Bearer {PERSON}"}
    with httpx.Client(base_url=plane.url, verify=False, headers=headers, timeout=30) as client:  # noqa: S501
        for file in sorted(CRDS.glob("*.yaml")):
            manifest: dict[str, Any] = yaml.safe_load(file.read_text())
            client.post(group, json=manifest).raise_for_status()
            served = f"/apis/{manifest['spec']['group']}/v1alpha1/{manifest['spec']['names']['plural']}"
            deadline = time.monotonic() + START_SECONDS
            while client.get(served).status_code != 200:
                if time.monotonic() > deadline:
                    raise RuntimeError(f"the API server does not serve {served}")
                time.sleep(0.1)
