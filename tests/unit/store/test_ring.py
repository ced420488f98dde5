"""Where documents lie: part of what is on disk, so it may never change."""

from itertools import pairwise

from embedding_serving.contract.index import hash_of, ring_range, shard_of

PLACES = ["5203bb62122c20cf", "e2134bf5b25a6fa7", "e7dff02598bf0bc4", "24f7fb3f2a815187"]
SHARDS = [0, 1, 7, 5, 6, 4, 3, 7, 2, 6, 6, 2]


def test_places_on_the_ring_are_what_they_were() -> None:
    assert [f"{hash_of(id_):016x}" for id_ in ("", "a", "ä", "document 1")] == PLACES
    assert [shard_of(f"document {number}", 8) for number in range(12)] == SHARDS


def test_every_place_belongs_to_one_shard() -> None:
    for shards in (1, 2, 3, 7, 256):
        ranges = [ring_range(shard, shards) for shard in range(shards)]
        assert (ranges[0][0], ranges[-1][1]) == (0, 1 << 64)
        assert all(before[1] == after[0] for before, after in pairwise(ranges))
        for id_ in ("x", "y", "z"):
            lower, upper = ranges[shard_of(id_, shards)]
            assert lower <= hash_of(id_) < upper
