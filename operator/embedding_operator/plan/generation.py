"""What a generation is to be, what the one that stands is, and how they differ."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

from pydantic import ValidationError

from embedding_serving.contract.admin import Role
from embedding_serving.contract.model import Task
from embedding_serving.contract.route import GenerationRoute, Phase, Rebuild, Route, Timetable, client_fingerprint

from ..build import names
from ..build import vector_index as build
from ..build.names import digest
from ..build.vector_index import GenerationRecord
from ..resources import STATEFUL_SET, Manifest
from ..status import timestamp
from .diagnosis import Finding
from .schedule import due, timetable
from .snapshot import IndexSnapshot
from .wish import Inputs, inputs_of

NOT_READY = "ModelNotReady"


@dataclass(frozen=True)
class Space:
    """The vector space that the spec asks for, and what makes vectors of it."""

    fingerprint: str
    dimensions: int
    model: str | None = None
    revision: str | None = None


def wanted_space(s: IndexSnapshot) -> Space | Finding:
    """A finding where the model can't tell yet, or never will."""
    spec = s.index.spec
    if spec.model_ref is None:
        dimensions = spec.dimensions or 0
        return Space(client_fingerprint(dimensions, spec.distance), dimensions)
    name, model = spec.model_ref.name, s.model
    if model is None:
        text = f"EmbeddingModel {name} does not exist in this namespace: apply it, or correct spec.modelRef.name"
        return Finding(NOT_READY, text, stalled=False)
    if model.task == Task.RERANK:
        text = f"EmbeddingModel {name} is a re-ranker (spec.model.task) and makes no vectors: name an encoder in spec.modelRef"
        return Finding(NOT_READY, text)
    if model.revision is None or model.fingerprint is None or model.dimensions is None:
        why = f" ({model.message})" if model.message else ""
        text = f"EmbeddingModel {name} has not told its vector space yet{why}: kubectl describe em {name}"
        return Finding(NOT_READY, text, stalled=False)
    return Space(model.fingerprint, model.dimensions, name, model.revision)


def first_route(s: IndexSnapshot) -> Route | Finding:
    """The first route of an index; where one was lost, again from what the generations' children and shards know."""
    found = {record.generation: record for record in _records(s)}
    space = wanted_space(s)
    if not found:
        if isinstance(space, Finding):
            return space
        return _route(s, (draft(s, space, 1),), Phase.STABLE)
    generations = [build.generation_route(s.index, _with_revision(found[number], space)) for number in sorted(found)]
    if len(generations) == 1:
        return _route(s, (generations[0],), Phase.STABLE)
    return _recovered(s, generations)


def _recovered(s: IndexSnapshot, generations: list[GenerationRoute]) -> Route | Finding:
    """Of several, the one that was opened last takes writes. It takes all their writers to know, and a higher epoch."""
    infos = {(info.generation, info.shard): info for info in s.infos.values() if info.role is Role.WRITER and info.history}
    silent = [
        names.shard(s.metadata.name, one.generation, number)
        for one in generations
        for number in range(one.shards)
        if (one.generation, number) not in infos
    ]
    if silent:
        text = f"the route was lost, and {', '.join(silent)} must answer before it is known which generation takes writes"
        return Finding("RouteUnavailable", text, stalled=False)

    def opened(one: GenerationRoute) -> tuple[int, int]:
        return max(infos[one.generation, number].opened_at for number in range(one.shards)), -one.generation

    active = max(generations, key=opened)
    histories = tuple(infos[active.generation, number].history for number in range(active.shards))
    other = max((one for one in generations if one is not active), key=lambda one: one.generation)
    resume = Phase.BUILDING if other.generation > active.generation else Phase.OBSERVING
    return _route(s, (active.model_copy(update={"histories": histories}), other), resume)


def _route(s: IndexSnapshot, generations: tuple[GenerationRoute, ...], resume: Phase) -> Route:
    """`generations`: first the one that takes writes. Its shards are opened above every epoch that was seen."""
    numbers = [one.generation for one in generations]
    number, other = numbers[0], numbers[1] if len(numbers) > 1 else None
    newest = generations[numbers.index(max(numbers))]
    record = Rebuild(
        id=new_rebuild_id(s.metadata.uid, newest.generation),
        generation=newest.generation,
        input_hash=inputs_of(newest).hash,
        started=timestamp(s.now),
    )
    return Route(
        index=s.metadata.name,
        namespace=s.metadata.namespace,
        seq=_first_seq(s),
        epoch=max((info.epoch for info in s.infos.values()), default=0) + 1,
        phase=Phase.REOPENING,
        resume=resume,
        writer=number,
        other=other,
        weights={number: 100},
        next_generation=max(numbers) + 1,
        generations=generations,
        rebuild=record if other else None,
        since=timestamp(s.now),
    )


def _first_seq(s: IndexSnapshot) -> int:
    """Above that of every route that this index had: gateways that know one take none below it, MOVED from a shard neither.

    Milliseconds since 1970, of which no route changes so often.
    """
    return max(int(s.now.timestamp() * 1_000), *(info.seq + 1 for info in s.gateways if info.seq), 1)


def new_rebuild_id(uid: str, generation: int) -> str:
    """The same for everybody who comes to the same decision."""
    return digest([uid, generation])[:12]


def _with_revision(record: GenerationRecord, space: Space | Finding) -> GenerationRecord:
    """Volumes do not know the revision: any with the same fingerprint serves."""
    if record.revision is None and isinstance(space, Space) and space.fingerprint == record.fingerprint:
        return record.model_copy(update={"model": space.model, "revision": space.revision})
    return record


def with_current_revision(route: Route, s: IndexSnapshot) -> Route:
    """Another revision with the same fingerprint makes the same vectors: the encoder is changed, nothing else."""
    space, active = wanted_space(s), route.active
    if isinstance(space, Finding) or space.revision is None or route.phase is not Phase.STABLE:
        return route
    if space.fingerprint != active.fingerprint or (space.model, space.revision) == (active.model, active.revision):
        return route
    encoder = build.encoder_url(space.model, space.revision, route.namespace)
    changed = active.model_copy(update={"model": space.model, "revision": space.revision, "encoder": encoder})
    return route.model_copy(update={"seq": route.seq + 1, "generations": (changed,)})


def inputs(s: IndexSnapshot, space: Space) -> Inputs:
    """What the spec asks a generation to be made from.

    A schedule asks for what serves once more, when nothing else is under way: what was turned down it does not try again.
    """
    spec, route = s.index.spec, s.route.route
    wanted = Inputs(
        space.fingerprint, spec.shards, spec.storage.storage_class_name, s.metadata.annotations.get(names.REBUILD, "")
    )
    if route is None or route.phase is not Phase.STABLE or not wanted.met_by(route.active):
        return wanted
    kept = timetable(spec.rebuild, route.timetable, s.now)
    return replace(wanted, due=due(kept, s.now)) if isinstance(kept, Timetable) else wanted


def draft(s: IndexSnapshot, space: Space, number: int) -> GenerationRoute:
    """The generation that the spec asks for, under this number."""
    spec, wanted = s.index.spec, inputs(s, space)
    record = GenerationRecord(
        generation=number,
        shards=spec.shards,
        fingerprint=space.fingerprint,
        dimensions=space.dimensions,
        distance=spec.distance,
        model=space.model,
        revision=space.revision,
        storage_class=wanted.storage_class,
        token=wanted.token,
    )
    return build.generation_route(s.index, record)


def differences(wanted: Inputs, draft: GenerationRoute, active: GenerationRoute) -> Iterator[str]:
    """What the spec asks for that only another generation can be, in words."""
    if wanted.fingerprint != active.fingerprint:
        former = f"revision {active.revision} of EmbeddingModel {active.model}" if active.model else active.fingerprint
        now = f"revision {draft.revision} of EmbeddingModel {draft.model}" if draft.model else draft.fingerprint
        yield f"its vectors are of {former}, spec asks for {now}"
    if wanted.shards != active.shards:
        yield f"it has {active.shards} shards, spec.shards is {wanted.shards}"
    if wanted.storage_class not in (None, active.storage_class):
        former = active.storage_class or "the default class"
        yield f"its volumes are of {former}, spec.storage.storageClassName is {wanted.storage_class}"
    if wanted.token not in ("", active.token):
        yield f"annotation {names.REBUILD} is {wanted.token!r}"
    if wanted.due:
        yield f"spec.rebuild.schedule was due at {wanted.due}"


def _records(s: IndexSnapshot) -> Iterator[GenerationRecord]:
    """What StatefulSets and volumes say that they are of: a StatefulSet knows the revision too."""
    for manifest in (*s.children.of(STATEFUL_SET), *s.claims):
        record = _record(manifest)
        if record:
            yield record


def _record(manifest: Manifest) -> GenerationRecord | None:
    try:
        return GenerationRecord.model_validate(json.loads(manifest["metadata"].get("annotations", {})[build.RECORD]))
    except (KeyError, ValidationError, json.JSONDecodeError):
        return None
