"""The plan for a VectorIndex: its route, one StatefulSet a shard, and commands to the shards."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta

from embedding_serving.contract.admin import Mode, Release
from embedding_serving.contract.index import IndexType
from embedding_serving.contract.route import GenerationRoute, Phase, Route

from ..api.quantity import amount
from ..build import names, objects
from ..build import vector_index as build
from ..build.vector_index import Volume
from ..resources import (
    CONFIG_MAP,
    HPA,
    JOB,
    NETWORK_POLICY,
    PDB,
    PVC,
    SERVICE,
    SERVICE_ACCOUNT,
    STATEFUL_SET,
    VECTOR_INDEX,
    Manifest,
)
from ..status import EventIntent, says, transitions
from . import encoders
from .asked import accepted, cost, generation_of, is_paused, wish_of
from .children import Intent, ensures, unintended
from .diagnosis import Finding
from .diff import drifted, identity, stamped
from .estimate import corrected
from .gate import Gate, analysis
from .generation import first_route, with_current_revision
from .model import Delete, Ensure, Plan, Scale, Step, Swap, Tell
from .rebuild_status import FOLLOWING, Building, events
from .rebuild_view import numbers, turn
from .route import decide
from .schedule import next_time, timetable
from .shard_trouble import holdups, standstill
from .shards import ShardWorld, all_shards, ordinal, shards_of
from .snapshot import IndexSnapshot
from .standing import Standing
from .vector_index_status import CONDITION_TYPES, STATUS_MEMBERS, Verdict, conditions, numbers_aside, settled, status_of
from .world import SWITCHING, Decision, moment

NUMBERS_SECONDS = 30.0
"""A status is written for its numbers alone at most this often."""
BUILDING_NUMBERS_SECONDS = 5.0
SWITCHING_SECONDS = 0.0
DRAINING_SECONDS = 0.1
"""How often shards of a switch are asked that were told what to do."""
LONGEST_SWITCH = timedelta(minutes=1)
"""After this it waits for something that takes its time."""
UNTOLD = timedelta(seconds=3)
AT_ONCE_SECONDS = 0.2
"""After a decision or a command: what follows from it."""
MOVING_SECONDS = 3.0
SETTLED_SECONDS = 30.0


def plan(s: IndexSnapshot) -> Plan:
    """What to do for one VectorIndex. Equal snapshots give equal plans; a world as intended gives no step."""
    refusal = _refusal(s)
    gate = analysis(s, s.route.route) if s.route.route and refusal is None else Gate()
    decision, waits_for = _decide(s, gate) if refusal is None else (None, None)
    route = decision.route if decision else s.route.route
    shards = shards_of(s, route.active) if route else ()
    acting = not s.paused and refusal is None and decision is not None
    steps = tuple(_steps(s, decision, gate)) if acting and decision else ()
    verdict = Verdict(
        decision=decision,
        shards=shards,
        refusal=refusal or (waits_for if waits_for and waits_for.stalled else None),
        waits_for=waits_for,
        strangers=tuple(sorted(f"{resource.kind} {name}" for resource, name in s.strangers)),
        pending=any(not isinstance(step, Swap | Tell) for step in steps),
        building=_building(s, decision, gate),
        faults=tuple(_faults(s)),
    )
    decided = conditions(s, verdict)
    status = status_of(s, verdict, decided)
    calm = settled(decided) and not any(one.reason == FOLLOWING for one in decided)
    hurried = _hurried(s)
    return Plan(
        steps=steps,
        status=None if hurried or _said(s, status) else status,
        events=(
            *(() if hurried else transitions(s.status.get("conditions", []), decided)),
            *_told(s, decision if acting else None),
        ),
        requeue_after_seconds=_again(s, decision, steps),
        poll_after_seconds=SETTLED_SECONDS if calm or decision is None else MOVING_SECONDS,
        rebuild=numbers(verdict.building),
        turn=turn(s.route.route, decision if acting else None, s.now.timestamp()),
    )


def _hurried(s: IndexSnapshot) -> bool:
    """A switch that goes well is told of when it is over: writing of each step would make it longer."""
    route = s.route.route
    return bool(route and route.phase in SWITCHING and _fenced_within(s, UNTOLD))


def _fenced_within(s: IndexSnapshot, time: timedelta) -> bool:
    route = s.route.route
    fenced = moment(route.rebuild.fenced) if route and route.rebuild else None
    return bool(fenced and s.now < fenced + time)


def _said(s: IndexSnapshot, status: Manifest) -> bool:
    """Whether the live status says this already, or as much of it as is due."""
    moving = s.route.route is not None and s.route.route.phase is Phase.BUILDING
    if s.numbers_age_seconds >= (BUILDING_NUMBERS_SECONDS if moving else NUMBERS_SECONDS):
        return says(s.status, status, CONDITION_TYPES, STATUS_MEMBERS)
    return says(numbers_aside(s.status), numbers_aside(status), CONDITION_TYPES, STATUS_MEMBERS)


def _refusal(s: IndexSnapshot) -> Finding | None:
    """Why nothing is done at all: what stands goes on as it is."""
    live, name = s.route.live, names.route(s.metadata.name)
    if live and s.route.route is None:
        ours = live["metadata"].get("labels", {}).get(names.owner_label(VECTOR_INDEX)) == s.metadata.name
        if not ours:
            text = f"ConfigMap {name} exists already and belongs to somebody else: rename or delete it, or rename this"
            return Finding("NameConflict", text)
        text = f"ConfigMap {name} holds no route: delete it, and it is made again from what the shards know"
        return Finding("RouteUnavailable", text)
    if s.index.spec.index.type is IndexType.SCANN:
        text = "spec.index.type is ScaNN, which this version does not have: set Auto, or another type"
        return Finding("UnsupportedIndexType", text)
    scaling = s.index.spec.autoscaling
    for metric in scaling.metrics if scaling else ():
        if not objects.measured(metric.type, build.METRIC_NAMES):
            return Finding("UnsupportedMetric", objects.unmeasured(metric.type))
    return None


def _faults(s: IndexSnapshot) -> Iterator[Finding]:
    """Parts of the spec that can't be followed, while all others are."""
    found = timetable(s.index.spec.rebuild, None, s.now)
    if isinstance(found, Finding):
        yield found
    unsuitable = encoders.fault(s)
    if unsuitable:
        yield unsuitable


def _decide(s: IndexSnapshot, gate: Gate) -> tuple[Decision | None, Finding | None]:
    """The route's next step, or what the first one waits for."""
    if _namesakes_leftovers(s):
        text = f"waits for the volumes of the former VectorIndex {s.metadata.name}, which go with it (reclaimPolicy Delete)"
        return None, Finding("VolumePending", text, stalled=False)
    route = s.route.route
    if route is None:
        first = first_route(s)
        return (None, first) if isinstance(first, Finding) else (Decision(first, ()), None)
    shards = all_shards(s, route)
    wish = wish_of(s, route, shards[route.writer], gate.verdict)
    answers = {number: tuple(shard.answers for shard in found) for number, found in shards.items()}
    decision = decide(route, answers, wish)
    if decision.route is route:
        current = with_current_revision(route, s)
        decision = replace(decision, route=current)
    return decision, None


def _building(s: IndexSnapshot, decision: Decision | None, gate: Gate) -> Building | None:
    """What there is of a second generation, by the route as it is on record."""
    route = s.route.route
    if route is None or decision is None or route.other is None:
        return None
    writers = [shard.writer for shard in shards_of(s, route.active)]
    known = [writer.documents for writer in writers if writer]
    shards = shards_of(s, route.generation(route.other))
    paused, building = is_paused(s, route), route.phase is Phase.BUILDING
    begun = moment(route.rebuild.started) if route.rebuild else None
    total = sum(known) if len(known) == len(writers) else None
    takes = cost(s, route.generation(route.other), route.active) if building else None
    builds = [shard.writer.build for shard in shards if shard.writer and shard.writer.build]
    return Building(
        route=route,
        decision=decision,
        shards=shards,
        total_documents=total,
        paused=paused,
        gate=gate.finding if decision.wants_gate else None,
        holdups=tuple(_holdups(s, route, shards)) if building else (),
        standstill=standstill(s, shards, begun or s.now) if building and not paused else None,
        estimate=corrected(takes, builds, total) if takes and total is not None else None,
    )


def _holdups(s: IndexSnapshot, route: Route, shards: tuple[ShardWorld, ...]) -> Iterator[Finding]:
    for shard in shards:
        yield from holdups(s, shard)
    spare = encoders.holdup(s, route)
    if spare:
        yield spare


def _told(s: IndexSnapshot, decision: Decision | None) -> list[EventIntent]:
    if decision is None:
        return []
    notes = [EventIntent("Warning", "AnnotationUnheeded", note) for note in decision.notes]
    return [*events(s.route.route, decision.route), *notes]


def _again(s: IndexSnapshot, decision: Decision | None, steps: tuple[Step, ...]) -> float | None:
    """While writes wait for a switch, nothing does; what waits for a pod is told of by its events. In rest it is when the
    schedule is due.
    """
    switching = decision is not None and decision.route.phase in SWITCHING
    if steps:
        decisive = any(isinstance(step, Swap | Tell) for step in steps)
        return SWITCHING_SECONDS if switching and decisive else AT_ONCE_SECONDS
    if switching and not s.paused and _fenced_within(s, LONGEST_SWITCH):
        return DRAINING_SECONDS
    kept = decision.route.timetable if decision and decision.route.phase is Phase.STABLE else None
    return max(AT_ONCE_SECONDS, (next_time(kept, s.now) - s.now).total_seconds()) if kept else None


def _namesakes_leftovers(s: IndexSnapshot) -> bool:
    """Whether the volumes or the route of a deleted index of this name are still being collected."""
    left = (*s.claims, *((s.route.live,) if s.route.live else ()))
    return any(
        owner.get("kind") == VECTOR_INDEX.kind and owner.get("uid") != s.metadata.uid
        for manifest in left
        for owner in manifest["metadata"].get("ownerReferences") or []
    )


def _steps(s: IndexSnapshot, decision: Decision, gate: Gate) -> Iterator[Step]:
    """The decision first: nothing may follow from one that is not on record."""
    swap, route = _swap(s, decision), decision.route
    if swap:
        yield swap
    yield from () if s.glance else _standing(s, decision, gate)
    if swap is None:
        yield from (Tell(copy.pod, message) for copy, message in decision.commands)
        yield from () if s.glance else _releases(route, shards_of(s, route.active))


def _standing(s: IndexSnapshot, decision: Decision, gate: Gate) -> Iterator[Step]:
    """Brings children, copies and volumes to what the decision intends."""
    route = decision.route
    going = route.other if route.phase is Phase.COLLECTING else None
    shards = tuple(shard for number, found in all_shards(s, route).items() if number != going for shard in found)
    intents = [*_intents(s, route, shards), *(gate.intents if decision.wants_gate or s.children.of(JOB) else ())]
    settling = route.phase in SWITCHING
    yield from (step for step in ensures(s, intents) if not (settling and isinstance(step, Ensure) and step.live))
    yield from _scales(s, decision, shards)
    yield from encoders.scales(s, route)
    yield from unintended(s, intents)
    yield from _claims(s, decision, shards)


def _swap(s: IndexSnapshot, decision: Decision) -> Swap | None:
    said = s.metadata.annotations.get(names.ACCEPT_DATA_LOSS)
    acted_upon = said if decision.consumes_acceptance or said == accepted(s) else None
    manifest = build.route(s.index, decision.route, acted_upon, s.route.resource_version)
    live, meta = s.route.live, manifest["metadata"]
    if live and decision.route == s.route.route and accepted(s) == acted_upon:
        labels, owners = live["metadata"].get("labels") or {}, live["metadata"].get("ownerReferences") or []
        if meta["labels"].items() <= labels.items() and meta["ownerReferences"] == owners:
            return None
    return Swap(CONFIG_MAP, manifest)


def _intents(s: IndexSnapshot, route: Route, shards: tuple[ShardWorld, ...]) -> Iterator[Intent]:
    yield Intent(SERVICE_ACCOUNT, build.service_account(s.index))
    yield Intent(NETWORK_POLICY, build.network_policy(s.index, s.at))
    named = {one.generation: one for one in route.standing}
    for shard in shards:
        generation, number = named[shard.generation], shard.number
        yield Intent(SERVICE, build.headless_service(s.index, shard.generation, number))
        yield Intent(STATEFUL_SET, build.stateful_set(s.index, generation, number, _volume(s, generation, shard), s.at))
        yield Intent(PDB, build.disruption_budget(s.index, shard.generation, number))
        if s.index.spec.autoscaling and generation is not route.donor:
            yield Intent(HPA, build.autoscaler(s.index, shard.generation, number))
    yield from encoders.intents(s, route)


def _volume(s: IndexSnapshot, generation: GenerationRoute, shard: ShardWorld) -> Volume:
    """As the StatefulSet has it, which can't be changed; volumes that are to be larger are made so one by one."""
    if shard.stateful_set is None:
        return Volume(s.index.spec.storage.size, generation.storage_class)
    spec: Manifest = shard.stateful_set["spec"]["volumeClaimTemplates"][0]["spec"]
    return Volume(spec["resources"]["requests"]["storage"], spec.get("storageClassName"))


def _claims(s: IndexSnapshot, decision: Decision, shards: tuple[ShardWorld, ...]) -> Iterator[Step]:
    """Grows volumes, and has them go with the index or outlive it, as the spec says; those of no generation go."""
    wanted = s.index.spec.storage.size
    owners = build.kept_with(s.index)
    gone = _gone(decision)
    yield from (
        Delete(PVC, live["metadata"]["name"], live["metadata"]["uid"])
        for live in s.claims
        if generation_of(live) in gone and not live["metadata"].get("deletionTimestamp")
    )
    for shard in shards:
        for live in shard.claims:
            if live["metadata"].get("deletionTimestamp"):
                continue
            if owners and _left_behind(shard, live):
                yield Delete(PVC, live["metadata"]["name"], live["metadata"]["uid"])
                continue
            size = live["spec"]["resources"]["requests"]["storage"]
            grows = amount(wanted) > amount(size)
            held = [owner for owner in live["metadata"].get("ownerReferences") or [] if owner.get("kind") == VECTOR_INDEX.kind]
            manifest = stamped(build.claim(s.index, live, wanted if grows else size))
            changes = grows or bool(held) != bool(owners) or (bool(owners) and drifted(manifest, live))
            if changes and identity(live, manifest) not in s.settled:
                yield Ensure(PVC, manifest, live=live)


def _gone(decision: Decision) -> frozenset[int]:
    """Generations whose volumes go: the one that is collected, in rest those that the route has left behind, and while one is
    built those that were given up for it: they are newer than what takes writes, and never took any.

    Of a number that the route never gave out it knows nothing: it may be older than what it is held against.
    """
    route = decision.route
    if route.phase is Phase.COLLECTING and route.other is not None:
        return frozenset({route.other})
    named = {one.generation for one in route.standing}
    if route.phase is Phase.STABLE and _all_open(decision):
        return frozenset(range(route.next_generation)) - named
    if route.phase is Phase.BUILDING and route.other is not None and _all_open(decision):
        return frozenset(range(route.writer + 1, route.other)) - named
    return frozenset()


def _all_open(decision: Decision) -> bool:
    return bool(decision.assessments) and all(one.standing is Standing.OPEN for one in decision.assessments)


def _left_behind(shard: ShardWorld, live: Manifest) -> bool:
    """The volume of a copy that was scaled away: having an owner kept it from going by itself. Never a writer's."""
    number = ordinal(live)
    used = any(ordinal(pod) == number for pod in shard.pods)
    return shard.stateful_set is not None and 0 < shard.wanted <= number and not used


def _scales(s: IndexSnapshot, decision: Decision, shards: tuple[ShardWorld, ...]) -> Iterator[Step]:
    """Copies of each shard, through the scale subresource. While a shard is not open no copy goes: it may be needed. Nobody
    searches in a donor.
    """
    scaling, donor = s.index.spec.autoscaling, decision.route.donor
    may_shrink = _all_open(decision) and decision.route.phase not in SWITCHING
    for shard in shards:
        live = shard.wanted if shard.stateful_set else 1
        wanted = max(live, scaling.min_replicas) if scaling else s.index.spec.replicas
        if donor and shard.generation == donor.generation:
            wanted = 1
        if wanted > live or (wanted < live and may_shrink):
            yield Scale(STATEFUL_SET, shard.name, wanted)


def _releases(route: Route, shards: tuple[ShardWorld, ...]) -> Iterator[Step]:
    """Leases of copies that are gone for good, or that read no more: they would keep what was deleted from being purged."""
    for shard in shards:
        writer = shard.answers.writer
        if writer is None or writer.info.mode is not Mode.OPEN or shard.stateful_set is None:
            continue
        standing = {f"{shard.name}-{number}" for number in range(1, shard.wanted)}
        standing |= {copy.name for copy in shard.answers.followers}
        for copy in (writer, *shard.answers.followers):
            for lease in copy.info.followers:
                own = lease.consumer.rpartition("-")[0] == shard.name
                if own and (copy is not writer or lease.consumer not in standing):
                    yield Tell(copy.pod, Release(epoch=route.epoch, history=copy.info.history, consumer=lease.consumer))
