"""A process to kill: writes a history that only its seed decides into an index, snapshotting and building all the while."""

import dataclasses
import sys
from pathlib import Path

import numpy as np

from embedding_serving.contract.index import Distance, IndexOptions
from embedding_serving.shard.ann.index import VectorIndex

from .conftest import SMALL, MemoryStore, clustered

COMMITS = 400
BUSY = dataclasses.replace(SMALL, snapshot_seconds=0.0, snapshot_rows=1, growth_rows_min=100)


def history(seed: int, store: MemoryStore) -> "list[tuple[np.ndarray, np.ndarray, np.ndarray]]":
    """Every commit of the history, applied to the store."""
    random = np.random.default_rng(seed)
    commits = [store.commit(clustered(random, 300), [])]
    for _ in range(COMMITS):
        live = np.array(list(store.live))
        commits.append(store.commit(clustered(random, 6), random.choice(live, size=4, replace=False).tolist()))
    return commits


def main(directory: str, seed: str) -> None:
    empty, store = MemoryStore(), MemoryStore()
    commits = history(int(seed), store)
    index = VectorIndex(Path(directory), store.dimensions, Distance.EUCLIDEAN, IndexOptions(), empty, limits=BUSY)
    index.load()
    print("writing", flush=True)
    for commit in commits:
        index.apply(*commit)
        index.search(commit[1][:1], 3)
    print("written", flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main(*sys.argv[1:])
