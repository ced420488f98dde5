"""Reads what one kind knows of another: routes, and models as those who read from them see them."""

from pydantic import ValidationError

from embedding_serving.contract.route import ROUTE_KEY, Route

from ..build import names
from ..kube import Kube
from ..plan.snapshot import Encoder, RouteRecord
from ..resources import CONFIG_MAP, EMBEDDING_MODEL, Manifest


async def route_of(kube: Kube, namespace: str, index: str) -> RouteRecord:
    """The route of an index as it lies there now."""
    live = await kube.get(CONFIG_MAP, namespace, names.route(index))
    return RouteRecord(live, parsed(live) if live else None)


def parsed(live: Manifest) -> Route | None:
    """The route in a ConfigMap; None where there is none, or one of another object."""
    try:
        route = Route.model_validate_json((live.get("data") or {}).get(ROUTE_KEY, ""))
    except ValidationError:
        return None
    meta = live["metadata"]
    return route if (route.namespace, names.route(route.index)) == (meta["namespace"], meta["name"]) else None


async def encoder(kube: Kube, namespace: str, name: str) -> Encoder | None:
    """An EmbeddingModel as others see it; None where it does not exist."""
    live = await kube.get(EMBEDDING_MODEL, namespace, name)
    if live is None:
        return None
    status = live.get("status", {})
    revisions: list[Manifest] = status.get("revisions", [])
    ready: Manifest = next((one for one in status.get("conditions", []) if one["type"] == "Ready"), {})
    return Encoder(
        name=name,
        task=live["spec"]["model"].get("task", "Embed"),
        ready=ready.get("status") == "True",
        message=ready.get("message", ""),
        revision=status.get("revision"),
        fingerprint=status.get("fingerprint"),
        dimensions=status.get("dimensions"),
        ready_replicas={one["name"]: one.get("readyReplicas", 0) for one in revisions},
        tokens_per_second={one["name"]: one["tokensPerSecond"] for one in revisions if one.get("tokensPerSecond")},
    )
