"""What is the matter with a shard, in words, and the command that helps."""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta

from embedding_serving.contract.admin import Refusal, ShardInfo

from ..build import names
from ..resources import Manifest
from .diagnosis import Finding, diagnose, is_ready
from .shards import ShardWorld
from .snapshot import IndexSnapshot
from .standing import Assessment, Standing
from .world import Decision


def trouble(s: IndexSnapshot, shard: ShardWorld, standing: Standing | None, decision: Decision | None) -> Finding | None:
    """Why the shard takes no writes; None where it does, or is about to."""
    info = shard.writer
    if info is None:
        return _silent(s, shard)
    if standing is Standing.SILENT:
        text = f"pod {info.pod} is loading{f': {info.message}' if info.message else ''}"
        return Finding("ShardDown", text, stalled=False)
    match standing:
        case Standing.FOREIGN:
            text = (
                f"the volume of pod {info.pod} holds generation {info.generation}, shard {info.shard} of {info.shards}, "
                f"vectors of {info.fingerprint}: not what the route says. Put the right volume back, or delete this one: "
                f"{_delete_volume(s, info.pod)}"
            )
            return Finding("ShardDown", text)
        case Standing.CORRUPT:
            return _corrupt(s, shard, info)
        case Standing.LOST:
            return _lost(s, shard, info, _assessment(shard, decision))
        case Standing.COPYING:
            text = f"pod {info.pod} lost its volume and copies what a follower has: it is opened when that is done"
            return Finding("WriterDown", text, stalled=False)
    if info.fault == Refusal.VOLUME_FULL:
        text = f"the volume of pod {info.pod} is full: raise spec.storage.size, or delete documents"
        return Finding("VolumeFull", text, stalled=False)
    if info.fault:
        text = f"pod {info.pod}: {info.message or info.fault}: kubectl logs -n {s.metadata.namespace} {info.pod}"
        return Finding("WriterDown", text, stalled=False)
    return None


def holdups(s: IndexSnapshot, shard: ShardWorld) -> Iterator[Finding]:
    """What keeps a shard from being built."""
    found, info = trouble(s, shard, None, None), shard.writer
    if found:
        yield found
    if info is None:
        return
    said = [info.build.message if info.build else None, *(source.message for source in info.sources)]
    yield from (Finding("Rebuilding", f"pod {info.pod}: {text}", stalled=False) for text in said if text)


def standstill(s: IndexSnapshot, shards: Iterable[ShardWorld], begun: datetime) -> Finding | None:
    """What keeps a generation from coming on for longer than spec.rebuild.progressDeadlineSeconds. Nothing is given up."""
    seconds = s.index.spec.rebuild.progress_deadline_seconds
    for shard in shards:
        if _stands(s, shard, begun, timedelta(seconds=seconds)):
            why = next((found.message for found in holdups(s, shard)), "nothing was said of why")
            text = (
                f"{shard.name} of the new generation has taken nothing for {seconds} s "
                f"(spec.rebuild.progressDeadlineSeconds): {why}. It goes on as soon as it can"
            )
            return Finding("ProgressDeadlineExceeded", text)
    return None


def is_missing(s: IndexSnapshot, shard: ShardWorld, begun: datetime, most: timedelta) -> bool:
    """Whether nothing has been heard of its writer for so long."""
    info = shard.writer
    return (info is None or not info.history) and s.now > max(begun, _unready_since(shard.writer_pod) or begun) + most


def _stands(s: IndexSnapshot, shard: ShardWorld, begun: datetime, most: timedelta) -> bool:
    """One that waits for its turn, or was told to stand still, does not count."""
    info = shard.writer
    if info is None or not info.history:
        return is_missing(s, shard, begun, most)
    told = info.build is not None and info.build.pace == 0
    return not told and any(source.idle_seconds > most.total_seconds() for source in info.sources)


def _unready_since(pod: Manifest | None) -> datetime | None:
    """None where there is no pod, or where it does not say."""
    conditions = pod.get("status", {}).get("conditions", []) if pod else []
    ready: Manifest = next((one for one in conditions if one["type"] == "Ready"), {})
    since = ready.get("lastTransitionTime") or (pod["metadata"].get("creationTimestamp") if pod else None)
    return datetime.fromisoformat(since) if since else None


def _assessment(shard: ShardWorld, decision: Decision | None) -> Assessment | None:
    return next((one for one in decision.assessments if one.shard.number == shard.number), None) if decision else None


def _silent(s: IndexSnapshot, shard: ShardWorld) -> Finding:
    name = f"{shard.name}-0"
    for claim in shard.claims:
        if claim.get("status", {}).get("phase") == "Pending":
            volume = claim["metadata"]["name"]
            said = s.claim_events.get(volume, "nothing was said of it yet")
            text = (
                f"PersistentVolumeClaim {volume} has no volume: {said}: kubectl describe pvc -n {s.metadata.namespace} {volume}"
            )
            return Finding("VolumePending", text, stalled=False)
    if shard.writer_pod is None:
        return Finding(
            "ShardDown",
            f"pod {name} does not exist yet: kubectl describe sts -n {s.metadata.namespace} {shard.name}",
            stalled=False,
        )
    found = diagnose([shard.writer_pod], ())
    if found:
        why = found.message
    elif shard.writer_pod["metadata"].get("deletionTimestamp"):
        why = "it ends, and another one follows"
    elif not is_ready(shard.writer_pod):
        why = "it starts"
    else:
        why = "its admin port does not answer: does a network policy keep the operator from it?"
    return Finding("ShardDown", f"pod {name}: {why}: kubectl logs -n {s.metadata.namespace} {name}", stalled=False)


def _corrupt(s: IndexSnapshot, shard: ShardWorld, info: ShardInfo) -> Finding:
    said = info.message or "its database is damaged"
    if shard.answers.followers:
        text = f"pod {info.pod}: {said}. A follower has a copy: give up the damaged volume, and it is read from there: "
    else:
        text = (
            f"pod {info.pod}: {said}. No follower has a copy: restore the volume from a backup. To go on without what it "
            "held instead, delete the volume, and accept the loss when asked to: "
        )
    return Finding("StoreCorrupt", text + _delete_volume(s, info.pod))


def _lost(s: IndexSnapshot, shard: ShardWorld, info: ShardInfo, one: Assessment | None) -> Finding:
    before: Manifest = next((known for known in s.status.get("shards", []) if known["name"] == shard.name), {})
    held = f"about {before['documents']} documents" if "documents" in before else "its documents"
    if one and one.shard.silent:
        left = f"and {', '.join(one.shard.silent)}, which may hold the latest of it, does not answer: bring it up"
    elif one and one.behind:
        left = f"the followers are known to lack {one.behind} changes of it"
    else:
        left = "no follower has a copy"
    generation = s.route.route.writer if s.route.route else 1
    used = s.metadata.annotations.get(names.ACCEPT_DATA_LOSS) == str(generation)
    again = "the annotation was used for an earlier loss: remove it first, then " if used else ""
    text = (
        f"the volume of pod {info.pod} is not the one that held {held}: it is new or was restored, {left}. "
        f"Put the old volume back; or, to lose what is missing and go on, {again}"
        f"kubectl annotate vi -n {s.metadata.namespace} {s.metadata.name} {names.ACCEPT_DATA_LOSS}={generation}"
    )
    return Finding("WriterDown", text)


def _delete_volume(s: IndexSnapshot, pod: str) -> str:
    return (
        f"kubectl delete pvc -n {s.metadata.namespace} --wait=false data-{pod} && "
        f"kubectl delete pod -n {s.metadata.namespace} {pod}"
    )
