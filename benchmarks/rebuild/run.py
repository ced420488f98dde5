"""One run from empty volumes to the last switch. What is compared is measured in turns, while the rebuild waits in between."""

import asyncio
import contextlib
import os
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import numpy as np
import orjson

from embedding_serving.contract.reports import ModelInfo
from embedding_serving.contract.route import Phase
from embedding_serving.contract.settings import API_PORT

from ..search.processes import cpu_seconds
from .ceiling import Ceiling
from .clients import SEARCH, Job, Log, Words, working
from .models import BLUE, prepared
from .operator import Operator, Spec
from .pods import Pod, Pods, api
from .switches import Switch, followed, switched

LOAD_BATCH = 250
LOAD_CONNECTIONS = 4
WAIT_SECONDS = 3_600.0
LOOK_SECONDS = 0.05
SETTLE_SECONDS = 1.0
STILL_SECONDS = 2.0
GREEN = 2


@dataclass(frozen=True)
class Plan:
    """seconds: of each measurement of a rate or of searches. bound: of the brake, in idle p99s. share: of the documents
    that rates may use up, so that some are left to embed beside searches.
    """

    documents: int
    model: str
    shards: int = 2
    rounds: int = 3
    seconds: float = 5.0
    search_seconds: float = 30.0
    switches: int = 10
    pause_seconds: float = 4.0
    searches_per_second: float = 40.0
    writes_per_second: float = 40.0
    connections: int = 8
    bound: float = 1.25
    share: float = 0.4


@dataclass(frozen=True)
class Rate:
    """Texts a second: of a client that does nothing else, and of the rebuild. encoder_cpu: share of a core that it had."""

    ceiling: float
    rebuild: float
    ceiling_encoder_cpu: float
    rebuild_encoder_cpu: float


@dataclass(frozen=True)
class Searches:
    """rows_per_second: that were embedded meanwhile."""

    requests: int
    p50_milliseconds: float
    p99_milliseconds: float
    rows_per_second: float
    failures: int


@dataclass(frozen=True)
class SearchRound:
    """Absent: nothing was left to embed."""

    idle: Searches
    braked: Searches | None
    free: Searches | None
    bound_milliseconds: int


@dataclass
class Figures:
    plan: Plan
    load_average: float
    processors: int
    load_seconds: float = 0.0
    rates: list[Rate] = field(default_factory=list)
    searches: list[SearchRound] = field(default_factory=list)
    switches: list[Switch] = field(default_factory=list)
    blue_bytes: int = 0
    blue_dimensions: int = 0
    green_bytes: int = 0
    green_dimensions: int = 0


Say = Callable[[str], None]


async def measured(plan: Plan, words: Words, say: Say) -> Figures:
    """Raises RuntimeError where a pod does not come up or a switch never ends."""
    figures = Figures(plan, os.getloadavg()[0], os.cpu_count() or 1)
    with Pods() as pods:
        run = _Run(plan, pods, figures, words, say)
        await run.all()
    figures.load_average = max(figures.load_average, os.getloadavg()[0])
    return figures


class _Run:
    def __init__(self, plan: Plan, pods: Pods, figures: Figures, words: Words, say: Say) -> None:
        self._plan = plan
        self._pods = pods
        self._figures = figures
        self._words = words
        self._documents = [words.documents[number % len(words.documents)] for number in range(plan.documents)]
        self._say = say

    async def all(self) -> None:
        blue, green = (self._pods.encoder(prepared(name)) for name in (BLUE, self._plan.model))
        await self._pods.ready(blue, green)
        self._green = green
        async with self._operator(blue) as operator:
            self._at_work = operator
            await self._until(lambda: _is_open(operator), "the first generation takes writes")
            await self._pods.ready(*operator.shard_pods(1))
            self._gateway = self._pods.gateway(operator.route)
            operator.gateways = [self._gateway]
            await self._pods.ready(self._gateway)
            await self._load()
            await self._begin()
            await self._rates()
            job = self._job()
            async with working(job, Path(job.lines).parent) as log:
                await self._searches(log)
                await self._switches(log)

    @contextlib.asynccontextmanager
    async def _operator(self, blue: Pod) -> AsyncIterator[Operator]:
        spec = Spec(await self._model(blue), blue, self._plan.shards)
        operator = Operator(self._pods, spec)
        task = asyncio.create_task(operator.run())
        self._operating = task
        try:
            yield operator
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def _model(self, encoder: Pod) -> ModelInfo:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"{api(encoder)}/v1/info", raise_for_status=True) as answer,
        ):
            return ModelInfo.model_validate_json(await answer.read())

    async def _load(self) -> None:
        """The first generation's documents, through the gateway."""
        begun = time.monotonic()
        starts = iter(range(0, len(self._documents), LOAD_BATCH))
        async with aiohttp.ClientSession(base_url=api(self._gateway)) as session:

            async def work() -> None:
                for start in starts:
                    part = self._documents[start : start + LOAD_BATCH]
                    body = [{"id": str(start + number), "text": one} for number, one in enumerate(part)]
                    async with session.post("/v1/documents", data=orjson.dumps({"documents": body})) as answer:
                        answer.raise_for_status()
                        failed = [result for result in (await answer.json())["results"] if "error" in result]
                    if failed:
                        raise RuntimeError(f"{len(failed)} documents were not stored: {failed[0]}")

            await asyncio.gather(*(work() for _ in range(LOAD_CONNECTIONS)))
        self._figures.load_seconds = time.monotonic() - begun
        self._say(f"{len(self._documents):,} documents loaded in {self._figures.load_seconds:.0f} s")

    async def _begin(self) -> None:
        """A new generation, with all its shards up and nothing embedded yet."""
        operator = self._at_work
        spec = Spec(await self._model(self._green), self._green, self._plan.shards, paused=True)
        operator.spec = spec
        operator.changed()
        await self._until(lambda: operator.route.phase is Phase.BUILDING, "the rebuild begins")
        await self._pods.ready(*operator.shard_pods(GREEN))
        names = {pod.name for pod in operator.shard_pods(GREEN)}
        await self._until(
            lambda: all((info := operator.infos.get(name)) and info.build and info.build.pace == 0 for name in names),
            "the new shards are told to wait",
        )

    # --- how fast ---

    async def _rates(self) -> None:
        ceiling = Ceiling(api(self._green), self._documents, self._plan.shards)
        for number in range(self._plan.rounds):
            if await self._rows() >= self._plan.share * self._plan.documents:
                break
            with _cpu(self._green) as alone:
                most = await ceiling.texts_per_second(self._plan.seconds)
            await self._pace(paused=False)
            with _cpu(self._green) as building:
                rate = await self._rows_per_second(self._plan.seconds, self._plan.share)
            await self._pace(paused=True)
            self._figures.rates.append(Rate(most, rate, alone.share, building.share))
            self._say(f"round {number + 1}: the encoder gives {most:,.0f} texts/s, the rebuild takes {rate:,.0f}")

    async def _pace(self, *, paused: bool) -> None:
        """Told to the pods by the operator; answers when they have heard, and what was on its way is through."""
        operator = self._at_work
        operator.spec.paused = paused
        operator.changed()
        names = [pod.name for pod in operator.shard_pods(GREEN)]

        def told() -> bool:
            builds = [info.build for name in names if (info := operator.infos.get(name))]
            return all(build and (build.pace == 0) == paused for build in builds)

        await self._until(told, "the new shards are told their pace")
        if paused:
            await self._still()

    async def _still(self) -> None:
        """Until nothing is embedded any more: texts that were on their way when the pause came are."""
        before, rows = -1, await self._rows()
        while rows > before:
            await asyncio.sleep(STILL_SECONDS)
            before, rows = rows, await self._rows()

    async def _rows_per_second(self, seconds: float, share: float) -> float:
        """Until the time is over, or this share of the documents is embedded."""
        begun, first = time.monotonic(), await self._rows()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            rows, now = await self._rows(), time.monotonic()
            if now >= begun + seconds or rows >= share * self._plan.documents:
                return (rows - first) / (now - begun)

    async def _rows(self) -> int:
        plane, pods = self._at_work.data_plane, self._at_work.shard_pods(GREEN)
        infos = await asyncio.gather(*(plane.shard_info(pod.manifest) for pod in pods))
        return sum(info.build.rows for info in infos if info and info.build)

    # --- beside searches ---

    def _job(self) -> Job:
        plan, folder = self._plan, self._gateway.folder
        return Job(
            host=self._gateway.address,
            port=API_PORT,
            documents=plan.documents,
            searches_per_second=plan.searches_per_second,
            writes_per_second=plan.writes_per_second,
            connections=plan.connections,
            words=self._words.write(folder / "words.json"),
            lines=str(folder / "requests.jsonl"),
        )

    async def _searches(self, log: Log) -> None:
        spec = self._at_work.spec
        await asyncio.sleep(SETTLE_SECONDS)
        for number in range(self._plan.rounds):
            idle = await self._searched(log)
            bound = max(1, round(self._plan.bound * idle.p99_milliseconds))
            spec.bound_milliseconds = bound
            braked = await self._beside(log)
            spec.bound_milliseconds = None
            free = await self._beside(log)
            self._figures.searches.append(SearchRound(idle, braked, free, bound))
            told = ", ".join(
                f"{name} {one.p99_milliseconds:.0f} ms" for name, one in (("braked", braked), ("free", free)) if one
            )
            self._say(f"round {number + 1}: p99 of searches idle {idle.p99_milliseconds:.0f} ms, {told or 'nothing left'}")
            if free is None:
                break

    async def _beside(self, log: Log) -> Searches | None:
        """Beside the rebuild, which waits again afterwards; None where it has too little left to do."""
        if self._caught_up():
            return None
        await self._pace(paused=False)
        found = await self._searched(log)
        await self._pace(paused=True)
        return found

    async def _searched(self, log: Log) -> Searches:
        begun, rows = time.monotonic(), await self._rows()
        await self._until(
            lambda: time.monotonic() >= begun + self._plan.search_seconds or self._caught_up(), "searches are measured"
        )
        ended = time.monotonic()
        rate = (await self._rows() - rows) / (ended - begun)
        requests = log.answered(begun, ended, SEARCH)
        times = [1e3 * one.seconds for one in requests if not one.failure]
        p50, p99 = np.percentile(times, (50, 99)) if times else (0.0, 0.0)
        return Searches(len(requests), float(p50), float(p99), rate, len(requests) - len(times))

    def _caught_up(self) -> bool:
        """Whether the rebuild, if it is let, has nothing left to embed but what is written now."""
        decision = self._at_work.decision
        left = decision.behind if decision else None
        return left is not None and left <= self._plan.documents * 0.02

    # --- to the other generation, and back ---

    async def _switches(self, log: Log) -> None:
        operator, plan = self._at_work, self._plan
        await self._pace(paused=False)
        begun = time.monotonic()
        await self._until(lambda: "promote" in (operator.decision.waits if operator.decision else ""), "it has caught up")
        self._say(f"caught up after another {time.monotonic() - begun:.0f} s")
        self._figures.blue_bytes, self._figures.green_bytes = (
            sum(pod.disk_bytes() for pod in operator.shard_pods(number)) for number in (1, GREEN)
        )
        route, figures = operator.route, self._figures
        figures.blue_dimensions, figures.green_dimensions = (route.generation(number).dimensions for number in (1, GREEN))
        for number in range(plan.switches):
            await followed(operator)
            await asyncio.sleep(plan.pause_seconds)
            asks = "promote" if not number else "rollback" if number % 2 else "retry"
            switch = await switched(operator, asks, GREEN, log)
            self._figures.switches.append(switch)
            self._say(f"{asks}: writes paused {switch.writes.seconds:.2f} s, {switch.fence_to_open:.2f} s from fence to open")

    async def _until(self, holds: Callable[[], object], what: str) -> None:
        """Raises RuntimeError where it never comes, or the operator has failed."""
        deadline = time.monotonic() + WAIT_SECONDS
        while not holds():
            if self._operating.done():
                self._operating.result()
            if time.monotonic() > deadline:
                raise RuntimeError(f"it never came to be that {what}")
            await asyncio.sleep(LOOK_SECONDS)


def _is_open(operator: Operator) -> bool:
    return (
        operator.route.phase is Phase.STABLE and all(operator.route.active.histories) and operator.route.active.histories != ()
    )


class _cpu:  # noqa: N801 - reads as what is measured
    """Share of one core that a pod had within."""

    share = 0.0

    def __init__(self, pod: Pod) -> None:
        self._pid = pod.process.pid

    def __enter__(self) -> "_cpu":
        self._begun, self._used = time.monotonic(), cpu_seconds([self._pid])
        return self

    def __exit__(self, *reason: object) -> None:
        self.share = (cpu_seconds([self._pid]) - self._used) / (time.monotonic() - self._begun)
