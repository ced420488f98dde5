"""Whether another generation fits, before it is begun: quotas of the namespace, and the class of its volumes.

What can't be read does not stand in the way: a rebuild that then gets no pod or volume is Stalled, with the reason.
"""

from collections.abc import Iterator, Mapping
from decimal import Decimal

from embedding_serving.contract.route import GenerationRoute

from ..api.quantity import amount, written
from ..build import encoders
from ..build import vector_index as build
from ..build.vector_index import Volume
from ..resources import Manifest
from .diagnosis import NO_ROOM, Finding
from .estimate import Pods
from .snapshot import IndexSnapshot

CLASS = ".storageclass.storage.k8s.io/"
FIELDS = {
    "ephemeral-storage": "spec.resources, spec.shards or spec.replicas",
    "storage": "spec.storage.size, spec.shards or spec.replicas",
    "cpu": "spec.resources, spec.shards or spec.replicas",
    "memory": "spec.resources, spec.shards or spec.replicas",
}
"""Fields that a quota's resource is asked for by, by the end of its name."""
COUNTED = "spec.shards or spec.replicas"


def shortage(s: IndexSnapshot, planned: GenerationRoute) -> Finding | None:
    """Why there is no room for the generation that is planned."""
    return _unknown_class(s) or next(_over_quota(s, planned), None)


def _unknown_class(s: IndexSnapshot) -> Finding | None:
    name = s.index.spec.storage.storage_class_name
    if not name or s.room.storage_class is not False:
        return None
    text = (
        f"spec.storage.storageClassName is {name}, and there is no such StorageClass: create it, or name one of kubectl get sc"
    )
    return Finding(NO_ROOM, text, stalled=False)


def _over_quota(s: IndexSnapshot, planned: GenerationRoute) -> Iterator[Finding]:
    asked = needs(s, planned)
    for quota in s.room.quotas:
        spec, status = quota.get("spec", {}), quota.get("status", {})
        if spec.get("scopes") or spec.get("scopeSelector"):
            continue  # of some pods only: whether of these, the API server alone knows
        title = f"ResourceQuota {quota['metadata']['name']}"
        for name, hard in sorted(status.get("hard", {}).items()):
            used = amount(str(status.get("used", {}).get(name, "0")))
            left = max(Decimal(0), amount(str(hard)) - used)
            wanted = asked.get(name, Decimal(0))
            if wanted > left:
                field = next((field for end, field in FIELDS.items() if name.endswith(end)), COUNTED)
                text = (
                    f"generation {planned.generation} needs {_as(hard, wanted)} of {name} beside the one that serves, and "
                    f"{title} has {_as(hard, left)} of {hard} left: raise it, or lower {field}"
                )
                yield Finding(NO_ROOM, text, stalled=False)


def needs(s: IndexSnapshot, planned: GenerationRoute) -> Mapping[str, Decimal]:
    """What quotas count, by the names that they have for it. Defaults of LimitRanges are not known here."""
    spec = s.index.spec
    copies = spec.autoscaling.min_replicas if spec.autoscaling else spec.replicas
    pods, shards = Decimal(planned.shards * copies), Decimal(planned.shards)
    volume = Volume(spec.storage.size, planned.storage_class)
    (container,) = build.stateful_set(s.index, planned, 0, volume, s.at)["spec"]["template"]["spec"]["containers"]
    found = {"pods": pods, "count/pods": pods, "services": shards, "persistentvolumeclaims": pods}
    found |= {"count/services": shards, "count/statefulsets.apps": shards, "count/persistentvolumeclaims": pods}
    found["requests.storage"] = pods * amount(spec.storage.size)
    if planned.storage_class:
        found[f"{planned.storage_class}{CLASS}requests.storage"] = found["requests.storage"]
        found[f"{planned.storage_class}{CLASS}persistentvolumeclaims"] = pods
    return _sum(found, _of_pods(pods, container), _of_encoders(s, planned))


def requested(s: IndexSnapshot, planned: GenerationRoute) -> Pods:
    """By all its pods. Devices: whatever resource has a vendor's name, such as nvidia.com/gpu."""
    asked = needs(s, planned)
    devices = [number for name, number in asked.items() if name.startswith("requests.") and "/" in name]
    return Pods(memory=asked.get("memory", Decimal(0)), devices=int(sum(devices)))


def _of_encoders(s: IndexSnapshot, planned: GenerationRoute) -> Mapping[str, Decimal]:
    """Spare ones, where the rebuild is to have them and embeds."""
    wanted, spare, route = s.index.spec.rebuild.encoders, s.spare, s.route.route
    if wanted is None or spare is None or (route and route.active.fingerprint == planned.fingerprint):
        return {}
    owner = encoders.dressed(spare.owner, wanted)
    made = encoders.deployment(s.index, planned.generation, owner, spare.model, spare.revision, s.at)
    (container,) = made["spec"]["template"]["spec"]["containers"]
    pods, one = Decimal(wanted.replicas), Decimal(1)
    counted = {"pods": pods, "count/pods": pods, "services": one, "count/services": one, "count/deployments.apps": one}
    return _sum(counted, _of_pods(pods, container))


def _of_pods(pods: Decimal, container: Manifest) -> Mapping[str, Decimal]:
    limits: Mapping[str, str] = container["resources"].get("limits", {})
    requests: Mapping[str, str] = {**limits, **container["resources"].get("requests", {})}
    found = {f"limits.{name}": pods * amount(quantity) for name, quantity in limits.items()}
    for name, quantity in requests.items():
        found[f"requests.{name}"] = pods * amount(quantity)
        if "/" not in name:
            found[name] = found[f"requests.{name}"]
    return found


def _sum(*parts: Mapping[str, Decimal]) -> Mapping[str, Decimal]:
    return {name: sum((part.get(name, Decimal(0)) for part in parts), Decimal(0)) for part in parts for name in part}


def _as(model: object, number: Decimal) -> str:
    """In the unit that the quota is written in."""
    return written(number, like=str(model))
