"""The cluster's certificates and the kubeconfig of each of its clients.

They are made once, beside each other, and put in place by one rename: a folder that is there is complete.
"""

from __future__ import annotations

import base64
import hashlib
import ipaddress
import json
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster import layout

_VALID = timedelta(days=3650)
_CLOCK_SLACK = timedelta(days=1)


@dataclass(frozen=True)
class Client:
    """Somebody who talks to the API server: certificate user and groups."""

    user: str
    groups: tuple[str, ...] = ()


CLIENTS = {
    "admin": Client("cluster-admin", ("system:masters",)),
    "controller-manager": Client("system:kube-controller-manager"),
    "scheduler": Client("system:kube-scheduler"),
    "kubelet": Client(f"system:node:{layout.NODE_NAME}", ("system:nodes",)),
    "kube-proxy": Client("system:kube-proxy"),
    "coredns": Client("system:coredns"),
    "metrics-server": Client("system:metrics-server"),
    "volume-reclaimer": Client("system:volume-reclaimer"),
}
_API_NAMES = ("kubernetes", "kubernetes.default", "kubernetes.default.svc", f"kubernetes.default.svc.{layout.DOMAIN}")
_SERVERS = {
    "apiserver": (*_API_NAMES, "localhost", layout.API_SERVICE_IP, layout.NODE_IP, "127.0.0.1"),
    "kubelet-serving": (layout.NODE_NAME, layout.NODE_IP),
    "metrics-server-serving": ("metrics-server.kube-system.svc", layout.NODE_IP),
}


def out_of_date() -> bool:
    """Whether the certificates there are for other clients or addresses than this code knows."""
    return layout.PKI.is_dir() and not (layout.PKI / _stamp()).is_file()


def ensure() -> None:
    """Make all of it, unless it is there."""
    if layout.PKI.is_dir():
        return
    unfinished = layout.PKI.with_suffix(".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True, mode=0o700)
    cluster = _Authority("cluster-ca", unfinished)
    for name, client in CLIENTS.items():
        cluster.issue(name, client.user, client.groups, usage=ExtendedKeyUsageOID.CLIENT_AUTH)
        _write(unfinished / f"{name}.kubeconfig", kubeconfig(name, unfinished))
    cluster.issue("apiserver-to-kubelet", "apiserver", ("system:masters",), usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    for name, addresses in _SERVERS.items():
        cluster.issue(name, name, names=addresses, usage=ExtendedKeyUsageOID.SERVER_AUTH)
    front_proxy = _Authority("front-proxy-ca", unfinished)
    front_proxy.issue("front-proxy", "front-proxy", usage=ExtendedKeyUsageOID.CLIENT_AUTH)
    signer = ec.generate_private_key(ec.SECP256R1())
    _write(unfinished / "service-account.key", _key_pem(signer))
    public = signer.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(unfinished / "service-account.pub", public)
    (unfinished / _stamp()).touch()
    unfinished.rename(layout.PKI)


def fingerprint() -> str:
    """Changes when the certificates do."""
    return hashlib.sha256((layout.PKI / "cluster-ca.crt").read_bytes()).hexdigest()[:16]


def kubeconfig(client: str, folder: Path) -> bytes:
    """A kubeconfig that carries its certificates in itself, so that it may be copied anywhere."""

    def encoded(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    server = f"https://{layout.NODE_IP}:{layout.API_PORT}"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": layout.NAME,
        "clusters": [
            {
                "name": layout.NAME,
                "cluster": {"server": server, "certificate-authority-data": encoded("cluster-ca.crt")},
            }
        ],
        "users": [
            {
                "name": client,
                "user": {
                    "client-certificate-data": encoded(f"{client}.crt"),
                    "client-key-data": encoded(f"{client}.key"),
                },
            }
        ],
        "contexts": [{"name": layout.NAME, "context": {"cluster": layout.NAME, "user": client}}],
    }
    return (json.dumps(document, indent=1) + "\n").encode()  # JSON is YAML


def _stamp() -> str:
    """Named after all that goes into the certificates."""
    made_of = repr((CLIENTS, _SERVERS, layout.NAME, layout.NODE_IP, layout.API_PORT, layout.SERVICE_RANGE))
    return f"made-of-{hashlib.sha256(made_of.encode()).hexdigest()[:16]}"


class _Authority:
    def __init__(self, name: str, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        usage = x509.KeyUsage(True, False, False, False, False, True, True, False, False)
        certificate = (
            _builder(self._name, self._name, self._key.public_key())
            .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
            .add_extension(usage, critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(self._key.public_key()), critical=False)
            .sign(self._key, hashes.SHA256())
        )
        _write(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM))
        _write(folder / f"{name}.key", _key_pem(self._key))

    def issue(
        self,
        file: str,
        common_name: str,
        groups: tuple[str, ...] = (),
        *,
        names: tuple[str, ...] = (),
        usage: x509.ObjectIdentifier,
    ) -> None:
        """Write `file`.crt and `file`.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name(
            [
                *(x509.NameAttribute(NameOID.ORGANIZATION_NAME, group) for group in groups),
                x509.NameAttribute(NameOID.COMMON_NAME, common_name),
            ]
        )
        builder = (
            _builder(subject, self._name, key.public_key())
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key()), critical=False)
        )
        if names:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False
            )
        certificate = builder.sign(self._key, hashes.SHA256())
        _write(self._folder / f"{file}.crt", certificate.public_bytes(serialization.Encoding.PEM))
        _write(self._folder / f"{file}.key", _key_pem(key))


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CLOCK_SLACK)
        .not_valid_after(now + _VALID)
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes) -> None:
    path.touch(mode=0o600)
    path.write_bytes(content)
