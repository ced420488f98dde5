"""What a generation is to be, what the one that stands is, and how they differ."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from pydantic import ValidationError

from embedding_serving.contract.model import Task
from embedding_serving.contract.route import Phase, Route, client_fingerprint

from ..build import vector_index as build
from ..build.vector_index import GenerationRecord
from ..resources import STATEFUL_SET, Manifest
from ..status import timestamp
from .diagnosis import Finding
from .snapshot import IndexSnapshot

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
    """The first route of an index; where one was lost, again for the generation that its children are of."""
    found = max(_records(s), key=lambda record: record.generation, default=None)
    space = wanted_space(s)
    if found is None:
        if isinstance(space, Finding):
            return space
        found = GenerationRecord(
            generation=1,
            shards=s.index.spec.shards,
            fingerprint=space.fingerprint,
            dimensions=space.dimensions,
            distance=s.index.spec.distance,
            model=space.model,
            revision=space.revision,
        )
    elif found.revision is None and isinstance(space, Space) and space.fingerprint == found.fingerprint:
        found = found.model_copy(update={"model": space.model, "revision": space.revision})
    number = found.generation
    return Route(
        index=s.metadata.name,
        namespace=s.metadata.namespace,
        seq=1,
        epoch=max((info.epoch for info in s.infos.values()), default=0) + 1,
        phase=Phase.REOPENING,
        writer=number,
        weights={number: 100},
        next_generation=number + 1,
        generations=(build.generation_route(s.index, found),),
        since=timestamp(s.now),
    )


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


def differences(s: IndexSnapshot, route: Route) -> Iterator[str]:
    """What the spec asks for that only another generation can be."""
    active, spec, space = route.active, s.index.spec, wanted_space(s)
    if isinstance(space, Space) and space.fingerprint != active.fingerprint:
        former = f"revision {active.revision} of EmbeddingModel {active.model}" if active.model else active.fingerprint
        now = f"revision {space.revision} of EmbeddingModel {space.model}" if space.model else space.fingerprint
        yield f"its vectors are of {former}, spec asks for {now}"
    if spec.shards != active.shards:
        yield f"it has {active.shards} shards, spec.shards is {spec.shards}"
    wanted = spec.storage.storage_class_name
    classes = {claim["spec"].get("storageClassName") for claim in s.claims}
    if wanted is not None and classes - {wanted, None}:
        yield f"its volumes are of {', '.join(sorted(classes - {None}))}, spec.storage.storageClassName is {wanted}"


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
