"""Load on PostgreSQL with pgvector through asyncpg: its binary protocol, prepared statements. Run by the peers' Python."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg  # type: ignore[import-not-found]
import uvloop
from pgvector.asyncpg import register_vector  # type: ignore[import-not-found]

from ..closed_loop import Ask, Store, run
from ..job import Job, K

UPSERT = """INSERT INTO documents (id, text, metadata, percentile, vector) VALUES ($1, $2, $3, $4, $5)
ON CONFLICT (id) DO UPDATE SET text = excluded.text, metadata = excluded.metadata,
percentile = excluded.percentile, vector = excluded.vector"""


def search_statement(percent: int | None) -> str:
    passes = "" if percent is None else f"WHERE percentile < {int(percent)} "
    return f"SELECT id, text, metadata, vector <#> $1 FROM documents {passes}ORDER BY vector <#> $1 LIMIT {K}"  # noqa: S608


async def connect(target: dict[str, Any]) -> "asyncpg.Connection[Any]":
    connection = await asyncpg.connect(host=target["socket_dir"], user="postgres", database="postgres")
    await connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    await register_vector(connection)
    await connection.execute(f"SET hnsw.ef_search = {int(target.get('effort', 40))}")
    await connection.execute("SET hnsw.iterative_scan = relaxed_order")
    return connection


def searching(connection: Any, job: Job) -> Ask:
    assert job.search
    queries, statement = job.queries, search_statement(job.search.percent)

    async def ask(query: int) -> Any:
        return await connection.fetch(statement, queries[query])

    return ask


def storing(connection: Any, job: Job, payloads: Sequence[dict[str, Any]]) -> Store:
    vectors, percentiles = job.documents, job.percentiles

    async def store(numbers: Sequence[int]) -> None:
        await connection.executemany(
            UPSERT,
            [(n, payloads[n]["text"], json.dumps(payloads[n]["metadata"]), int(percentiles[n]), vectors[n]) for n in numbers],
        )

    return store


async def main(path: Path) -> None:
    job = Job.read(path)
    target = dict(job.target)
    ask = [searching(await connect(target), job) for _ in range(job.search.connections if job.search else 0)]
    payloads = job.payloads() if job.upsert else []
    store = [storing(await connect(target), job, payloads) for _ in range(job.upsert.connections if job.upsert else 0)]
    result = await run(job, ask, store, lambda rows: [row[0] for row in rows])
    result.write(job.result)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
