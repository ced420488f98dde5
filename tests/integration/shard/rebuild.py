"""Generations of shards, and a test in the operator's place: it reads infos and sends messages, as the protocol has them."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import httpx

from embedding_serving.contract.admin import ShardInfo
from embedding_serving.contract.index import ring_range, shard_of
from embedding_serving.contract.route import GenerationRoute, Phase, Route
from integration.embed.server import Prepared

from .conftest import MakeShard
from .shard_process import Caller, ShardProcess, calling, until

MODEL_DIMENSIONS = 384


class Served(Protocol):
    @property
    def url(self) -> str: ...
    def metric(self, name: str) -> float: ...


@dataclass
class Model:
    """A prepared model and its server."""

    prepared: Prepared
    server: Served

    def embed(self, texts: Sequence[str]) -> bytes:
        """float32, row by row."""
        answer = httpx.post(
            f"{self.server.url}/v1/embeddings",
            json={"input": list(texts), "input_type": "document"},
            headers={"accept": "application/octet-stream"},
            timeout=60,
        )
        answer.raise_for_status()
        return answer.content


@dataclass
class Generation:
    number: int
    model: Model
    pods: list[ShardProcess]
    followers: list[ShardProcess] = field(default_factory=list)

    @property
    def infos(self) -> list[ShardInfo]:
        return [pod.info() for pod in self.pods]

    @property
    def digest(self) -> str:
        return f"{sum(int(info.digest, 16) for info in self.infos) % (1 << 128):032x}"

    @property
    def failed(self) -> dict[str, str]:
        return {one.id: one.reason for info in self.infos for one in (info.build.failed if info.build else ())}

    @property
    def epoch(self) -> int:
        return max(info.epoch for info in self.infos)

    def pod_of(self, id_: str) -> ShardProcess:
        return self.pods[shard_of(id_, len(self.pods))]

    async def write(self, *changes: dict[str, Any], **head: Any) -> list[dict[str, Any]]:
        """As a gateway does: embedded by this generation's model, a shard its part. Results in order."""
        results: dict[str, dict[str, Any]] = {}
        for shard, pod in enumerate(self.pods):
            part = [change for change in changes if shard_of(change["id"], len(self.pods)) == shard]
            if not part:
                continue
            texts = [change["text"] for change in part if change.get("text")]
            vectors = self.model.embed(texts) if texts else b""
            sent = [{"op": "put"} | change | {"vector": bool(change.get("text"))} for change in part]
            async with calling(pod) as gateway:
                answer = await gateway.call(
                    "write",
                    vectors,
                    g=self.number,
                    f=self.model.prepared.fingerprint,
                    **{"request_id": f"r{time.time_ns()}", "issued_at": time.time_ns() // 1_000_000, "changes": sent} | head,
                )
            results |= {result["id"]: result for result in answer.head["results"]}
        return [results[change["id"]] for change in changes]

    async def put(self, documents: Mapping[str, str]) -> None:
        items = list(documents.items())
        for start in range(0, len(items), 200):
            await self.write(*({"id": id_, "text": text} for id_, text in items[start : start + 200]))

    async def texts(self, ids: Sequence[str], **head: Any) -> dict[str, str | None]:
        found: dict[str, str | None] = {}
        for id_ in ids:
            async with calling(self.pod_of(id_)) as gateway:
                (document,) = await self._get(gateway, id_, **head)
                found[id_] = document[3] if document else None
        return found

    async def _get(self, gateway: Caller, id_: str, **head: Any) -> list[Any]:
        pinned: dict[str, Any] = {"g": self.number, "f": self.model.prepared.fingerprint} | head
        documents: list[Any] = (await gateway.call("get", ids=[id_], **pinned)).head["documents"]
        return documents

    async def vector(self, id_: str, **head: Any) -> bytes:
        async with calling(self.pod_of(id_)) as gateway:
            pinned: dict[str, Any] = {"g": self.number, "f": self.model.prepared.fingerprint} | head
            answer = await gateway.call("get", ids=[id_], include={"vector": True}, **pinned)
            return bytes(answer.tail)

    def route(self) -> GenerationRoute:
        return GenerationRoute(
            generation=self.number,
            hosts=tuple(pod.host for pod in self.pods),
            fingerprint=self.model.prepared.fingerprint,
            dimensions=MODEL_DIMENSIONS,
            encoder=self.model.server.url,
        )


def generation(make_shard: MakeShard, work: Path, number: int, model: Model, shards: int = 1, **changes: Any) -> Generation:
    """Started, and closed as new volumes are."""
    pods = []
    for shard in range(shards):
        name = f"docs-g{number}-s{shard}-0"
        pod = make_shard(
            data_dir=work / name,
            name=name,
            generation=number,
            shard=shard,
            shards=shards,
            fingerprint=model.prepared.fingerprint,
            dimensions=MODEL_DIMENSIONS,
            **changes,
        )
        pods.append(pod.await_ready())
    return Generation(number, model, pods)


def tell(pod: ShardProcess, name: str, epoch: int, **members: Any) -> Any:
    answer = pod.tell(name, epoch=epoch, **members)
    assert answer.status_code == 200, answer.text
    return answer.json()


def follow(
    reader: Generation,
    writer: Generation,
    epoch: int,
    leases: Mapping[str, int] | None = None,
    nonce: str = "",
    donor: Generation | None = None,
) -> None:
    """leases: position of the reverse lease by history of the writer's shard. donor: has vectors of the reader's space."""
    same = reader.model.prepared.fingerprint == writer.model.prepared.fingerprint
    for shard, pod in enumerate(reader.pods):
        lower, upper = ring_range(shard, len(reader.pods))
        sources = []
        for number, source in enumerate(writer.pods):
            first, end = ring_range(number, len(writer.pods))
            if first >= upper or end <= lower:
                continue
            history = source.info().history
            one: dict[str, Any] = {
                "shard": number,
                "history": history,
                "host": source.host,
                "lower": lower,
                "upper": upper,
                "with_vectors": same,
                "encoder": None if same else reader.model.server.url,
                "donors": [giver.host for giver in donor.pods] if donor else [],
            }
            if leases is not None:
                one |= {"position": leases[history], "consumer": f"reverse-{shard}", "nonce": nonce}
            sources.append(one)
        tell(pod, "follow", epoch, sources=sources, rebuild_id=nonce)


def caught_up(reader: Generation) -> bool:
    return all(
        info.sources and all(source.behind == 0 and source.cursor > 0 for source in info.sources) for info in reader.infos
    )


def await_caught_up(reader: Generation) -> None:
    until(lambda: caught_up(reader), f"generation {reader.number} has read all: {[info.sources for info in reader.infos]}")


def hand_over(writer: Generation, target: Generation, epoch: int, rebuild_id: str) -> dict[str, int]:
    """Fence, drain, prepare, seal, retire, activate. Answers the positions of the reverse leases by history."""
    fences = {}
    for number, pod in enumerate(writer.pods):
        answer = tell(pod, "fence", epoch, deadline_seconds=60.0, rebuild_id=rebuild_id)
        fences[number] = {"shard": number, "history": answer["history"], "position": answer["position"]}
    begins = {}
    for shard, pod in enumerate(target.pods):
        lower, upper = ring_range(shard, len(target.pods))
        wanted = [
            fence
            for number, fence in fences.items()
            if ring_range(number, len(writer.pods))[0] < upper and ring_range(number, len(writer.pods))[1] > lower
        ]

        def drained(pod: ShardProcess = pod, wanted: list[dict[str, Any]] = wanted) -> bool:
            cursors = {(source.shard, source.history): source.cursor for source in pod.info().sources}
            return all(cursors[fence["shard"], fence["history"]] >= fence["position"] for fence in wanted)

        until(drained, "the target has drained the fenced feeds", pod)
        answer = tell(pod, "prepare", epoch, sources=wanted, rebuild_id=rebuild_id)
        begins[answer["history"]] = answer["position"]
    assert target.digest == writer.digest
    for number, pod in enumerate(writer.pods):
        tell(pod, "seal", epoch, position=fences[number]["position"])
    route = moved_to(target, writer, epoch)
    for pod in (*writer.pods, *writer.followers):
        tell(pod, "retire", epoch, route=route)
    for pod in target.pods:
        tell(pod, "activate", epoch)
    return begins


def moved_to(target: Generation, writer: Generation, epoch: int) -> dict[str, Any]:
    """The route by which `target` takes the writes, as JSON."""
    return Route(
        index="docs",
        namespace="test",
        seq=epoch,
        epoch=epoch,
        phase=Phase.COMMITTED,
        writer=target.number,
        weights={target.number: 100},
        next_generation=9,
        generations=(target.route(), writer.route()),
    ).model_dump(mode="json")
