"""What an installation decides for all pods: images and addresses, from the operator's settings."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Installation:
    serving_image: str
    serving_torch_image: str
    image_pull_policy: str
    hub_endpoint: str
    http_allowed_hosts: tuple[str, ...]
    operator_namespace: str
    admin_public_keys: tuple[str, ...] = ()
    """Whose commands shards and gateways follow: Ed25519, base64 of 32 bytes."""
