"""The only door to the API server: a protocol, so that tests put a fake there, and its errors."""

from typing import Protocol

from .resources import Manifest, Resource

FIELD_MANAGER = "embedding-operator"


class KubeError(Exception):
    """The API server said no, or nothing. `status` is the HTTP status, 0 where no answer came."""

    def __init__(self, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}" if status else f"no answer: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class NotFound(KubeError):
    """404: the object, its namespace or its kind is not there."""


class Conflict(KubeError):
    """409: the object exists already, or is not the one that was read."""


class Fenced(KubeError):
    """This process may no longer write: its Lease is, or may be, somebody else's."""

    def __init__(self) -> None:
        super().__init__(0, "Fenced", "not the leader any more")


class Kube(Protocol):
    """Calls in plain JSON. Every call has a deadline; every one raises `KubeError`."""

    async def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """The live object, or None."""

    async def list(self, resource: Resource, namespace: str | None, labels: str = "", fields: str = "") -> list[Manifest]:
        """Live objects of one namespace, or of all, that match a label selector and a field selector.

        Raises NotFound where the API server does not know the kind.
        """

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Creates by server-side apply, so that later applies own every field. Raises Conflict where the name is taken."""

    async def apply(self, resource: Resource, manifest: Manifest, uid: str) -> Manifest:
        """Server-side apply of the complete intent, with force, to the object of this uid and no other."""

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        """Sets replicas through the scale subresource, as `kubectl scale` and an HPA do."""

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        """Deletes the object of this uid and no other; one that is gone is no error."""

    async def apply_status(self, resource: Resource, manifest: Manifest) -> None:
        """Server-side apply of `.status`, whole."""

    async def post(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Plain create."""

    async def put(self, resource: Resource, manifest: Manifest) -> Manifest:
        """Replace, a compare-and-set by the manifest's resourceVersion. Raises Conflict where it is stale."""
