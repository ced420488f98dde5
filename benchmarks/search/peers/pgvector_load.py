"""Fills PostgreSQL: COPY, then the indexes. Prints one JSON line with the seconds of each. Run by the peers' Python."""

import asyncio
import json
import sys
import time
from pathlib import Path

from ..job import Job
from .pgvector_client import connect

M, EF_CONSTRUCTION = 16, 128
ROWS = 5_000


async def main(path: Path) -> None:
    job = Job.read(path)
    connection = await connect(dict(job.target))
    dimensions = job.documents.shape[1]
    await connection.execute(
        "CREATE TABLE documents (id bigint PRIMARY KEY, text text, metadata jsonb, percentile smallint, "
        f"vector vector({dimensions}))"
    )
    started = time.perf_counter()
    vectors, percentiles, payloads = job.documents, job.percentiles, job.payloads()
    for start in range(0, len(vectors), ROWS):
        await connection.copy_records_to_table(
            "documents",
            records=[
                (n, payloads[n]["text"], json.dumps(payloads[n]["metadata"]), int(percentiles[n]), vectors[n])
                for n in range(start, min(start + ROWS, len(vectors)))
            ],
        )
    copied = time.perf_counter()
    await connection.execute("CREATE INDEX ON documents (percentile)")
    await connection.execute(
        f"CREATE INDEX ON documents USING hnsw (vector vector_ip_ops) WITH (m = {M}, ef_construction = {EF_CONSTRUCTION})"
    )
    await connection.execute("VACUUM ANALYZE documents")
    print(json.dumps({"load_seconds": copied - started, "build_seconds": time.perf_counter() - copied}))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
