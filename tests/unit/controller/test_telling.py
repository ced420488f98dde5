"""Commands are told to all shards at once where they are the same, and in the order of the plan where they are not."""

import asyncio

from embedding_operator.apply import Owner, apply
from embedding_operator.plan.model import Tell
from embedding_operator.resources import Manifest
from embedding_serving.contract.admin import Activate, Answer, Message, Mode, Unfence
from fixtures.controller import FakeDataPlane
from fixtures.kube import FakeKube

OWNER = Owner("VectorIndex", "t", "docs", "uid")


class SlowPods(FakeDataPlane):
    """Pods that answer only when as many have been asked as there are."""

    def __init__(self, pods: int) -> None:
        super().__init__()
        self.told: list[str] = []
        self._gate = asyncio.Barrier(pods)

    async def command(self, pod: Manifest, message: Message) -> Answer:
        self.told.append(f"{type(message).__name__} {pod['metadata']['name']}")
        await self._gate.wait()
        return Answer(history="h", epoch=1, mode=Mode.OPEN)


def tell(kind: type[Message], pod: str) -> Tell:
    return Tell({"metadata": {"name": pod, "namespace": "t"}}, kind(epoch=1, history="h"))


async def test_the_same_command_goes_to_all_at_once_and_the_next_one_waits() -> None:
    pods = SlowPods(2)
    steps = [tell(Unfence, "a"), tell(Unfence, "b"), tell(Activate, "a"), tell(Activate, "b")]
    await asyncio.wait_for(apply(FakeKube(), pods, OWNER, steps), 10)
    assert pods.told == ["Unfence a", "Unfence b", "Activate a", "Activate b"]
