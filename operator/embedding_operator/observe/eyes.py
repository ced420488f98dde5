"""What every look needs, and how children are found."""

import asyncio
from dataclasses import dataclass, field

from ..api.resource import Metadata
from ..build import names
from ..build.installation import Installation
from ..dataplane import DataPlane
from ..kube import Kube
from ..plan.model import Children
from ..resources import Manifest, Resource
from ..slots import RebuildSlots
from .familiar import Familiar


@dataclass(frozen=True)
class Eyes:
    kube: Kube
    data_plane: DataPlane
    at: Installation
    slots: RebuildSlots = field(default_factory=RebuildSlots)
    familiar: Familiar = field(default_factory=Familiar)

    async def object(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        """The object of a key; None where it is gone or going."""
        live = await self.kube.get(resource, namespace, name)
        return None if live is None or live["metadata"].get("deletionTimestamp") else live

    async def family(
        self, owner: Resource, of: Metadata, children: tuple[Resource, ...], others: tuple[Resource, ...]
    ) -> tuple[Children, list[list[Manifest]]]:
        """Children that `of` controls, and what else carries its label: pods and claims have controllers of their own."""
        mine = f"{names.owner_label(owner)}={of.name}"
        lists = await asyncio.gather(*(self.kube.list(resource, of.namespace, mine) for resource in (*children, *others)))
        owned = {
            (resource, child["metadata"]["name"]): child
            for resource, found in zip(children, lists[: len(children)], strict=True)
            for child in found
            if controlled_by(child, of.uid)
        }
        return Children(owned), lists[len(children) :]


def without_status(live: Manifest) -> Manifest:
    return {key: value for key, value in live.items() if key != "status"}


def controlled_by(child: Manifest, uid: str) -> bool:
    """Whether the object's controller is the one of this uid: labels can be copied, this reference is ours."""
    owners = child["metadata"].get("ownerReferences", [])
    return any(owner.get("controller") and owner.get("uid") == uid for owner in owners)
