"""Spare encoders of a rebuild (spec.rebuild.encoders): there while a generation is built, gone afterwards.

Until one of them is ready the pods that serve embed; those serve the queries and writes of people in any case.
"""

from collections.abc import Iterator

from embedding_serving.contract.route import GenerationRoute, Phase, Route

from ..build import embed_pod, names
from ..build import encoders as build
from ..resources import DEPLOYMENT, NETWORK_POLICY, SERVICE
from . import workload
from .children import Intent
from .diagnosis import Finding, diagnose
from .model import Scale
from .snapshot import IndexSnapshot


def served(s: IndexSnapshot, route: Route) -> GenerationRoute | None:
    """The generation that spare encoders work for now."""
    building = route.phase is Phase.BUILDING or (
        route.phase in (Phase.FENCING, Phase.REOPENING) and route.resume is Phase.BUILDING
    )
    if not building or route.other is None or s.index.spec.rebuild.encoders is None or fault(s):
        return None
    generation = route.generation(route.other)
    known = s.spare is not None and s.spare.revision == generation.revision
    return generation if known and generation.fingerprint != route.active.fingerprint else None


def fault(s: IndexSnapshot) -> Finding | None:
    """Why there can be none such as the spec asks for."""
    wanted = s.index.spec.rebuild.encoders
    if wanted is None or s.spare is None or s.at.serving_torch_image:
        return None
    if not embed_pod.needs_torch(build.dressed(s.spare.owner, wanted)):
        return None
    text = (
        "spec.rebuild.encoders.resources asks for a device, and the operator was installed without the torch image: set "
        "images.servingTorch in the chart's values, or ask for cpu and memory alone. Until then the pods that serve embed"
    )
    return Finding("UnsupportedModel", text)


def intents(s: IndexSnapshot, route: Route) -> Iterator[Intent]:
    generation, wanted, spare = served(s, route), s.index.spec.rebuild.encoders, s.spare
    if generation is None or wanted is None or spare is None:
        return
    number, owner = generation.generation, build.dressed(spare.owner, wanted)
    yield Intent(NETWORK_POLICY, build.network_policy(s.index, number, owner, spare.model, s.at))
    yield Intent(SERVICE, build.service(s.index, number))
    yield Intent(DEPLOYMENT, build.deployment(s.index, number, owner, spare.model, spare.revision, s.at))


def scales(s: IndexSnapshot, route: Route) -> Iterator[Scale]:
    generation, wanted = served(s, route), s.index.spec.rebuild.encoders
    if generation is None or wanted is None:
        return
    name = names.encoders(s.metadata.name, generation.generation)
    live = s.children.get(DEPLOYMENT, name)
    if (workload.wanted(live) if live else 1) != wanted.replicas:
        yield Scale(DEPLOYMENT, name, wanted.replicas)


def url(s: IndexSnapshot, route: Route) -> str | None:
    """Where the new generation has its texts embedded; None = by the pods that serve."""
    generation = served(s, route)
    if generation is None:
        return None
    live = s.children.get(DEPLOYMENT, names.encoders(s.metadata.name, generation.generation))
    return build.url(s.index, generation.generation) if workload.count(live, "readyReplicas") else None


def holdup(s: IndexSnapshot, route: Route) -> Finding | None:
    """While none of them is ready."""
    generation, wanted, spare = served(s, route), s.index.spec.rebuild.encoders, s.spare
    if generation is None or wanted is None or spare is None or url(s, route):
        return None
    found = diagnose(s.spare_pods, embed_pod.devices(build.dressed(spare.owner, wanted)))
    name = names.encoders(s.metadata.name, generation.generation)
    why = found.message if found else f"kubectl describe deploy -n {s.metadata.namespace} {name}"
    return Finding("Rebuilding", f"the pods that serve embed until a spare one of {name} is ready: {why}", stalled=False)
