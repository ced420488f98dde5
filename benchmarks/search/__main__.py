"""`python -m benchmarks.search`: the same vectors in every system, measured in turn, as ratios.

Recall is measured here, by the client's answers against exact ones; processor time is that of all server processes.
"""

import argparse
import contextlib
import json
import signal
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from corpus import NoTexts
from embedding_serving.contract.index import IndexType

from .data import DATASETS, choose
from .ours import Ours
from .peers.environment import PeerMissing
from .peers.pgvector import Pgvector
from .peers.qdrant import QdrantEngine
from .report import print_report
from .rounds import Plan, Record, run_rounds
from .system import System
from .texts import TooFewTexts

SYSTEMS: dict[str, Callable[[IndexType], System]] = {
    "ours": lambda index: Ours("ours", index=index),
    "ours-base64": lambda index: Ours("ours, base64", base64_vectors=True, index=index),
    "ours-2-copies": lambda index: Ours("ours, 2 copies", copies=2, index=index),
    "ours-2-shards": lambda index: Ours("ours, 2 shards", shards=2, index=index),
    "ours-4-shards": lambda index: Ours("ours, 4 shards", shards=4, index=index),
    "pgvector": lambda index: Pgvector(),
    "qdrant": lambda index: QdrantEngine(),
}
DEFAULT_SYSTEMS = ("ours", "ours-4-shards", "pgvector", "qdrant")
console = Console(highlight=False)


def main() -> int:
    arguments = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("stopped"))  # servers are stopped on the way out
    quick = arguments.quick
    try:
        data = choose(arguments.data, 20_000 if quick else arguments.documents)
    except (NoTexts, TooFewTexts) as error:
        print(error, file=sys.stderr)
        return 1
    plan = Plan(rounds=1 if quick else arguments.rounds, seconds=2.0 if quick else arguments.seconds)
    with contextlib.ExitStack() as stack:
        systems = []
        for name in arguments.systems:
            try:
                systems.append(stack.enter_context(SYSTEMS[name](arguments.index)))
            except PeerMissing as error:
                console.print(f"{name} is not measured: {error}")
        records = run_rounds(data, systems, plan, console)
    print_report(data, records, console)
    if arguments.json:
        _write(arguments.json, data.name, plan, records)
    return 1 if any(record.failure for record in records) else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20,000 documents, one short round")
    parser.add_argument("--data", choices=DATASETS, default="real", help="vectors of texts, or made by formula")
    parser.add_argument("--documents", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=4.0, help="of each measurement")
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=DEFAULT_SYSTEMS)
    parser.add_argument("--index", type=IndexType, choices=IndexType, default=IndexType.AUTO, help="type of our own index")
    parser.add_argument("--json", type=Path, help="where every single measurement is written")
    return parser.parse_args()


def _write(path: Path, data: str, plan: Plan, records: list[Record]) -> None:
    content = {"data": data, "plan": asdict(plan), "records": [asdict(record) for record in records]}
    path.write_text(json.dumps(content, indent=1))


if __name__ == "__main__":
    sys.exit(main())
