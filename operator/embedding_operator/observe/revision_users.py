"""Who reads from which revision of an EmbeddingModel: routes of indexes, and gateways that re-rank with it."""

import asyncio

from ..build import names
from ..kube import Kube
from ..plan.snapshot import RevisionUser
from ..resources import CONFIG_MAP, DEPLOYMENT, POD, SEARCH_SERVICE, VECTOR_INDEX, Manifest
from .routes import parsed


async def revision_users(kube: Kube, namespace: str, model: str) -> tuple[RevisionUser, ...]:
    """An index counts by what its route names; one that has no route yet may name any revision in a moment."""
    label = names.uses(model)
    routes, indexes, gateways, pods = await asyncio.gather(
        kube.list(CONFIG_MAP, namespace, label),
        kube.list(VECTOR_INDEX, namespace, fields=f"spec.modelRef.name={model}"),
        kube.list(DEPLOYMENT, namespace, label),
        kube.list(POD, namespace, label),
    )
    reading = {found.index: found for live in routes if (found := parsed(live))}
    undecided = {index["metadata"]["name"] for index in indexes} - reading.keys()
    users = [
        RevisionUser(f"VectorIndex/{name}", await _revisions_or_any(kube, namespace, name, model)) for name in sorted(undecided)
    ]
    standing = {index["metadata"]["name"] for index in indexes}
    for name, route in sorted(reading.items()):
        if name in standing or await kube.get(VECTOR_INDEX, namespace, name):  # a route may outlive its index
            revisions = {one.revision for one in route.generations if one.model == model and one.revision}
            users.append(RevisionUser(f"VectorIndex/{name}", frozenset(revisions)))
    return (*users, *_gateways([*gateways, *pods], label))


async def _revisions_or_any(kube: Kube, namespace: str, index: str, model: str) -> frozenset[str] | None:
    """Of an index whose route does not name the model: none, or where there is no route yet, any."""
    live = await kube.get(CONFIG_MAP, namespace, names.route(index))
    route = parsed(live) if live else None
    if route is None:
        return None
    return frozenset(one.revision for one in route.generations if one.model == model and one.revision)


def _gateways(objects: list[Manifest], label: str) -> list[RevisionUser]:
    """Pods of a former rollout read from the revision that they were started with."""
    revisions: dict[str, set[str]] = {}
    for found in objects:
        labels = found["metadata"]["labels"]
        service = labels.get(names.owner_label(SEARCH_SERVICE))
        if service:
            revisions.setdefault(service, set()).add(labels[label])
    return [RevisionUser(f"SearchService/{name}", frozenset(named)) for name, named in sorted(revisions.items())]
