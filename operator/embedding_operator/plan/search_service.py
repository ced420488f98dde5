"""The plan for a SearchService: one gateway Deployment, ways to reach it, and the newest route in every pod."""

from collections.abc import Iterator

from ..api.autoscaling import MetricType
from ..build import names, objects
from ..build import search_service as build
from ..build.search_service import Reranker
from ..resources import (
    DEPLOYMENT,
    HPA,
    HTTP_ROUTE,
    INGRESS,
    NETWORK_POLICY,
    PDB,
    SERVICE,
    SERVICE_ACCOUNT,
)
from ..status import says, transitions
from . import workload
from .children import Intent, ensures, unintended
from .diagnosis import Finding
from .model import Plan, Push, Scale, Step
from .search_service_status import CONDITION_TYPES, RERANK, STATUS_MEMBERS, Verdict, conditions, status_of
from .snapshot import ServiceSnapshot

LOOK_BACK_SECONDS = 2.0
MOVING_SECONDS = 5.0
SETTLED_SECONDS = 30.0


def plan(s: ServiceSnapshot) -> Plan:
    """What to do for one SearchService. Equal snapshots give equal plans; a world as intended gives no step."""
    steps = () if s.paused else tuple(_steps(s))
    verdict = Verdict(
        impossible=_impossible(s),
        strangers=tuple(sorted(f"{resource.kind} {name}" for resource, name in s.strangers)),
        pending=bool(steps),
    )
    decided = conditions(s, verdict)
    status = status_of(s, verdict, decided)
    moving = any(condition.type == "Reconciling" for condition in decided)
    return Plan(
        steps=steps,
        status=None if says(s.status, status, CONDITION_TYPES, STATUS_MEMBERS) else status,
        events=tuple(transitions(s.status.get("conditions", []), decided)),
        requeue_after_seconds=LOOK_BACK_SECONDS if steps else None,
        poll_after_seconds=MOVING_SECONDS if moving else SETTLED_SECONDS,
    )


def _impossible(s: ServiceSnapshot) -> Finding | None:
    """What can't be made of the spec; the rest is."""
    if _http_route_wanted(s) and not s.gateway_api:
        text = "spec.expose.httpRoute needs the Gateway API: install its CRDs in the cluster, or use spec.expose.ingress"
        return Finding("GatewayAPIMissing", text)
    unmeasured = _unmeasured(s)
    return Finding("UnsupportedMetric", objects.unmeasured(unmeasured)) if unmeasured else None


def _http_route_wanted(s: ServiceSnapshot) -> bool:
    expose = s.service.spec.expose
    return bool(expose and expose.http_route)


def _unmeasured(s: ServiceSnapshot) -> MetricType | None:
    scaling = s.service.spec.autoscaling
    metrics = scaling.metrics if scaling else ()
    return next((one.type for one in metrics if not objects.measured(one.type, build.METRIC_NAMES)), None)


def _steps(s: ServiceSnapshot) -> Iterator[Step]:
    intents = list(_intents(s))
    yield from ensures(s, intents)
    yield from _scales(s)
    yield from unintended(s, intents)
    yield from _pushes(s)


def _intents(s: ServiceSnapshot) -> Iterator[Intent]:
    owner, expose = s.service, s.service.spec.expose
    yield Intent(SERVICE_ACCOUNT, build.service_account(owner))
    yield Intent(NETWORK_POLICY, build.network_policy(owner, s.at))
    yield Intent(SERVICE, build.service(owner))
    yield Intent(DEPLOYMENT, build.deployment(owner, _reranker(s), s.at))
    yield Intent(PDB, build.disruption_budget(owner))
    if owner.spec.autoscaling and not _unmeasured(s):
        yield Intent(HPA, build.autoscaler(owner))
    if expose and expose.ingress:
        yield Intent(INGRESS, build.ingress(owner))
    if _http_route_wanted(s) and s.gateway_api:
        yield Intent(HTTP_ROUTE, build.http_route(owner))


def _reranker(s: ServiceSnapshot) -> Reranker | None:
    """The revision that serves now; none while there is none, since search goes on without."""
    model = s.reranker
    if model is None or model.task != RERANK or model.revision is None:
        return None
    return Reranker(model.name, model.revision)


def _scales(s: ServiceSnapshot) -> Iterator[Step]:
    name = names.gateway(s.metadata.name)
    deployment = s.children.get(DEPLOYMENT, name)
    live = workload.wanted(deployment) if deployment else 1
    scaling = s.service.spec.autoscaling
    wanted = max(live, scaling.min_replicas) if scaling else s.service.spec.replicas
    if wanted != live:
        yield Scale(DEPLOYMENT, name, wanted)


def _pushes(s: ServiceSnapshot) -> Iterator[Step]:
    """A mounted ConfigMap reaches a pod in a minute or so; this is at once."""
    if s.route is None:
        return
    for pod in s.pods:
        info = s.infos.get(pod["metadata"]["name"])
        if info and info.index == s.route.index and (info.seq or 0) < s.route.seq:
            yield Push(pod, s.route)
