"""The key that signs commands to pods: made once, kept in a Secret beside the operator, its public half given to pods."""

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from embedding_serving.contract.admin import TOKEN_ALGORITHM, TOKEN_ISSUER, TOKEN_SECONDS

from .kube import Conflict, Kube, KubeError
from .resources import SECRET, Manifest

ENTRY = "ed25519.pem"


class UnusableKey(Exception):
    """The Secret is there and holds no key of ours."""


@dataclass(frozen=True)
class AdminKey:
    private: Ed25519PrivateKey
    clock: Callable[[], float] = time.time

    @property
    def public(self) -> str:
        """Base64 of the 32 bytes, as pods take it."""
        return base64.b64encode(self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)).decode()

    def token(self, audience: str) -> str:
        """A bearer token for one pod, for as long as the contract says."""
        now = int(self.clock())
        claims = {"iss": TOKEN_ISSUER, "aud": audience, "iat": now, "exp": now + TOKEN_SECONDS}
        return jwt.encode(claims, self.private, algorithm=TOKEN_ALGORITHM)


async def load_or_create(kube: Kube, namespace: str, name: str) -> AdminKey:
    """The key of this installation; of two operators that make one at the same time, one wins and both use it.

    Raises KubeError, UnusableKey.
    """
    live = await kube.get(SECRET, namespace, name)
    if live is None:
        try:
            live = await kube.post(SECRET, _secret(namespace, name, Ed25519PrivateKey.generate()))
        except Conflict:
            live = await kube.get(SECRET, namespace, name)
            if live is None:
                raise KubeError(0, "Gone", f"Secret {name} was deleted while it was being read") from None
    return AdminKey(_private(live, namespace, name))


def _private(live: Manifest, namespace: str, name: str) -> Ed25519PrivateKey:
    try:
        key = load_pem_private_key(base64.b64decode(live["data"][ENTRY], validate=True), password=None)
    except (KeyError, TypeError, ValueError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, Ed25519PrivateKey):
        raise UnusableKey(
            f"Secret {namespace}/{name} has no Ed25519 key in {ENTRY}: delete it, and a new one is made; shard and gateway "
            "pods are then restarted with it"
        )
    return key


def _secret(namespace: str, name: str, key: Ed25519PrivateKey) -> Manifest:
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return {
        "metadata": {"name": name, "namespace": namespace},
        "type": "Opaque",
        "data": {ENTRY: base64.b64encode(pem).decode()},
    }
