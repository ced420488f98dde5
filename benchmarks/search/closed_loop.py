"""Clients in a closed loop: each connection asks again as soon as it was answered."""

import asyncio
import itertools
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from .job import WARM_UP_QUERIES, Job, Result, Search, Upsert, announce_end, await_start, now

Ask = Callable[[int], Awaitable[Any]]
"""Number of a query -> its answer, in the system's own form."""
Store = Callable[[Sequence[int]], Awaitable[None]]
"""Numbers of documents -> nothing, once they are acknowledged."""


async def run(job: Job, ask: Sequence[Ask], store: Sequence[Store], numbers: Callable[[Any], Sequence[int]]) -> Result:
    """One of `ask` and `store` a connection; `numbers` reads an answer and is called after the clock has stopped."""
    result = Result(len(job.queries))
    first_answers: dict[int, Any] = {}
    for one in ask:
        for query in range(WARM_UP_QUERIES):
            await one(query % result.queries)
    await asyncio.to_thread(await_start)
    result.started = now()
    tasks = []
    if job.search:
        turn = itertools.count(job.search.first)
        tasks += [_search(one, job.search, turn, result, first_answers) for one in ask]
    if job.upsert:
        batches = _batches(job.upsert, len(job.documents))
        tasks += [_upsert(one, job.upsert, batches, result) for one in store]
    await asyncio.gather(*tasks)
    result.ended = now()
    announce_end()
    for query, answer in first_answers.items():
        found = numbers(answer)
        result.answers[query, : len(found)] = found
    return result


async def _search(
    ask: Ask, search: Search, turn: "itertools.count[int]", result: Result, first_answers: dict[int, Any]
) -> None:
    started = now()
    deadline = result.started + search.seconds
    while started < deadline:
        query = next(turn) % result.queries
        answer = await ask(query)
        ended = now()
        result.seconds.append(ended - started)
        first_answers.setdefault(query, answer)
        started = ended


def _batches(upsert: Upsert, documents: int) -> "itertools.cycle[Sequence[int]]":
    starts = range(upsert.first, documents - upsert.batch + 1, upsert.batch)
    return itertools.cycle([range(start, start + upsert.batch) for start in starts])


async def _upsert(store: Store, upsert: Upsert, batches: "itertools.cycle[Sequence[int]]", result: Result) -> None:
    deadline = result.started + upsert.seconds
    pace = upsert.batch * upsert.connections / upsert.rate if upsert.rate else 0.0
    due = now()
    while now() < deadline:
        batch = next(batches)
        await store(batch)
        result.acknowledged += len(batch)
        due = max(due + pace, now() - pace)
        await asyncio.sleep(max(0.0, due - now()))
