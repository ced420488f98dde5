"""`python -m benchmarks.search.restart`: memory of a shard by index type, and its way back to ready after a stop."""

import argparse
import sys

from rich.console import Console
from rich.table import Table

from embedding_serving.contract.index import IndexType

from .data import DATASETS, choose
from .job import Search
from .measure import measure
from .ours import Ours

TYPES = tuple(kind for kind in IndexType if kind is not IndexType.SCANN)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.search.restart", description=__doc__)
    parser.add_argument("--documents", type=int, default=1_000_000)
    parser.add_argument("--data", choices=DATASETS, default="synthetic")
    parser.add_argument("--index", type=IndexType, nargs="+", choices=TYPES, default=[IndexType.AUTO])
    parser.add_argument("--seconds", type=float, default=4.0, help="of the measurement of recall")
    arguments = parser.parse_args()
    data = choose(arguments.data, arguments.documents)
    console = Console(highlight=False)
    table = Table(title=f"one shard, {len(data.documents):,} documents of {data.documents.shape[1]} dimensions")
    for heading in ("index", "load s", "build s", "recall@10", "p99 ms", "memory MiB", "restart to ready s", "recall after it"):
        table.add_column(heading, justify="left" if heading == "index" else "right")
    for kind in arguments.index:
        with Ours(str(kind), index=kind) as ours:
            loaded = ours.load(data)
            before = measure(ours, data, None, search=Search(1, arguments.seconds))
            restart = ours.restart_seconds()
            after = measure(ours, data, None, search=Search(1, arguments.seconds))
        figures = (f"{loaded.load_seconds:.0f}", f"{loaded.build_seconds:.1f}", f"{before.recall:.4f}")
        more = (
            f"{before.p99_milliseconds:.2f}",
            f"{before.memory_bytes / 2**20:,.0f}",
            f"{restart:.1f}",
            f"{after.recall:.4f}",
        )
        table.add_row(str(kind), *figures, *more)
        console.print(f"{kind}: {' '.join((*figures, *more))}")
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(main())
