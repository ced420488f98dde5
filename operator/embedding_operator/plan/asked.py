"""From a snapshot to what is wished of its route: the spec, the annotations, and what else stands."""

from datetime import timedelta

from embedding_serving.contract.route import GenerationRoute, Phase, Route, Timetable, Verdict

from ..build import names
from ..resources import Manifest
from . import encoders
from .annotations import ABOUT_ONE, open_ones, unheeded
from .brake import pace
from .diagnosis import Finding
from .estimate import Estimate, estimate
from .generation import Space, differences, draft, inputs, new_rebuild_id, wanted_space
from .preflight import requested, shortage
from .schedule import timetable
from .shard_trouble import is_missing
from .shards import ShardWorld, shards_of
from .snapshot import IndexSnapshot
from .wish import Promotion, Wish
from .world import moment

CRAMPED = timedelta(minutes=5)
"""For pods and volumes to come, nodes for them included; after this a donor may be what is in their way."""


def wish_of(s: IndexSnapshot, route: Route, shards: tuple[ShardWorld, ...], gate: Verdict | None) -> Wish:
    """What the spec and people ask of this route now."""
    space, rebuild, said = wanted_space(s), s.index.spec.rebuild, open_ones(route, s.metadata.annotations)
    known = space if isinstance(space, Space) else None
    planned = draft(s, known, route.next_generation) if known else None
    wanted = inputs(s, known) if known else None
    built, kept = str(route.other), timetable(rebuild, route.timetable, s.now)
    return Wish(
        now=s.now,
        inputs=wanted,
        draft=planned,
        causes=tuple(differences(wanted, planned, route.active)) if wanted and planned else (),
        timetable=kept if isinstance(kept, Timetable) else None,
        rebuild_id=new_rebuild_id(s.metadata.uid, route.next_generation),
        hold=_hold(s, shards, known),
        gate=gate,
        promotion=Promotion(
            enabled=rebuild.auto_promotion_enabled,
            after=_seconds(rebuild.auto_promotion_seconds),
            canary=tuple((step.weight_percent, step.pause_seconds) for step in rebuild.canary),
        ),
        fence_timeout=timedelta(seconds=rebuild.fence_timeout_seconds),
        rollback_window=timedelta(seconds=rebuild.rollback_window_seconds),
        max_parallel_shards=rebuild.max_parallel_shards,
        pace=0.0 if is_paused(s, route) else _pace(s, route),
        promote=said.get(names.PROMOTE) == built,
        abort=said.get(names.ABORT) == built,
        encoder=encoders.url(s, route),
        said={name: value for name, value in s.metadata.annotations.items() if name in ABOUT_ONE},
        unheeded=unheeded(route, said),
        rollback=said.get(names.ROLLBACK) == str(route.writer) and route.other is not None,
        retry=route.refused is not None and said.get(names.RETRY) == str(route.refused.generation),
        leaving=s.leaving,
        loss_accepted=loss_accepted(s, route),
        unheard=_unheard(s, route),
        cramped=_is_cramped(s, route),
        leftovers=leftovers(s),
        running=_running(s),
    )


def asks_for_another(s: IndexSnapshot) -> bool:
    """Whether a new generation would begin if nothing held it."""
    route, space = s.route.route, wanted_space(s)
    if route is None or route.phase is not Phase.STABLE or not isinstance(space, Space):
        return False
    wanted = inputs(s, space)
    return not wanted.met_by(route.active) and not (route.refused and route.refused.input_hash == wanted.hash)


def lacks(s: IndexSnapshot) -> Finding | None:
    """Why the generation that is asked for can't be had."""
    route, space = s.route.route, wanted_space(s)
    if route is None or isinstance(space, Finding) or not asks_for_another(s):
        return None
    return shortage(s, draft(s, space, route.next_generation))


def cost(s: IndexSnapshot, planned: GenerationRoute, active: GenerationRoute) -> Estimate | None:
    """What it takes to build a generation beside the active one."""
    spec = s.index.spec
    copies = spec.autoscaling.min_replicas if spec.autoscaling else spec.replicas
    return estimate(
        shards_of(s, active),
        embeds=planned.fingerprint != active.fingerprint,
        tokens_per_second=_encoding_speed(s, planned),
        size=spec.storage.size,
        volumes=planned.shards * copies,
        pods=requested(s, planned),
    )


def _encoding_speed(s: IndexSnapshot, planned: GenerationRoute) -> int | None:
    """Tokens a second of the pods that will embed for it: those that are spare, or those that serve as well."""
    model = s.encoders.get(planned.model) if planned.model else None
    if model is None or planned.revision is None:
        return None
    spare = s.index.spec.rebuild.encoders
    pods = spare.replicas if spare else model.ready_replicas.get(planned.revision, 0)
    return pods * model.tokens_per_second.get(planned.revision, 0) or None


def _unheard(s: IndexSnapshot, route: Route) -> tuple[str, ...]:
    late = {one.service for one in s.gateways if one.index == route.index and one.generation != route.writer}
    return tuple(f"a gateway of {service}" for service in sorted(late))


def _pace(s: IndexSnapshot, route: Route) -> float | None:
    if route.phase is not Phase.BUILDING:
        return None
    bound = s.index.spec.rebuild.max_search_latency_p99_milliseconds
    builds = [info.build for info in s.infos.values() if info.build and info.generation == route.other]
    return pace(bound, s.gateways, builds)


def _is_cramped(s: IndexSnapshot, route: Route) -> bool:
    if route.phase is not Phase.BUILDING or route.other is None or route.rebuild is None:
        return False
    begun = moment(route.rebuild.started) or s.now
    return any(is_missing(s, shard, begun, CRAMPED) for shard in shards_of(s, route.generation(route.other)))


def is_paused(s: IndexSnapshot, route: Route) -> bool:
    """Whether the generation that is built is to wait. `resume` with the same number takes `pause` back."""
    said, built = s.metadata.annotations, str(route.other)
    return route.phase is Phase.BUILDING and said.get(names.PAUSE) == built and said.get(names.RESUME) != built


def loss_accepted(s: IndexSnapshot, route: Route) -> bool:
    """Said for this generation, and not acted upon yet."""
    said = s.metadata.annotations.get(names.ACCEPT_DATA_LOSS)
    return said == str(route.active.generation) and accepted(s) != said


def accepted(s: IndexSnapshot) -> str | None:
    """The acceptance that was acted upon last."""
    annotations: dict[str, str] = s.route.live["metadata"].get("annotations") or {} if s.route.live else {}
    return annotations.get(names.ACCEPTED)


def leftovers(s: IndexSnapshot) -> frozenset[int]:
    """Generations of which an object, a pod or a volume stands."""
    standing = [*s.children.objects.values(), *s.pods, *s.claims]
    return frozenset(number for manifest in standing if (number := generation_of(manifest)) is not None)


def generation_of(manifest: Manifest) -> int | None:
    said = (manifest["metadata"].get("labels") or {}).get(names.GENERATION, "")
    return int(said) if said.isdigit() else None


def _hold(s: IndexSnapshot, shards: tuple[ShardWorld, ...], space: Space | None) -> Finding | None:
    """Why no generation may be begun now, though the spec asks for one."""
    lack = lacks(s)
    if lack:
        return lack
    if not s.has_slot and asks_for_another(s):
        text = "other indexes are being rebuilt, as many as the operator may do at a time (maxConcurrentRebuilds)"
        return Finding("Queued", text, stalled=False)
    moving = [shard.name for shard in shards if not shard.rolled_out]
    if moving:
        text = f"a new generation waits for {', '.join(moving)}, of which not every copy is up to date and ready"
        return Finding("Queued", text, stalled=False)
    if space and space.model and space.revision:
        encoder = s.encoders.get(space.model)
        if encoder is None or not encoder.ready_replicas.get(space.revision):
            what = f"revision {space.revision} of EmbeddingModel {space.model}"
            text = f"{what} has no pod that answers yet: kubectl describe em {space.model}"
            return Finding("WaitingForModel", text, stalled=False)
    return None


def _running(s: IndexSnapshot) -> dict[int, frozenset[str]]:
    found: dict[int, set[str]] = {}
    for pod in s.pods:
        number = generation_of(pod)
        if number is not None and pod.get("status", {}).get("phase") == "Running":
            found.setdefault(number, set()).add(pod["metadata"]["name"])
    return {number: frozenset(pods) for number, pods in found.items()}


def _seconds(value: int | None) -> timedelta | None:
    return None if value is None else timedelta(seconds=value)
