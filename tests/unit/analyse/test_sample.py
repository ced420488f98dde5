"""Documents are drawn evenly over rows, the same ones for a seed, and found where most rows are gone."""

from collections import Counter

from embedding_serving.analyse.sample import DRAWS, sample

from .fakes import FakeRows


def rows(shards: int = 2, number: int = 1_000, every: int = 1) -> FakeRows:
    live = [{row: f"s{shard}-{row:05}" for row in range(every, every * number + 1, every)} for shard in range(shards)]
    return FakeRows(live, every * number)


async def test_the_same_seed_draws_the_same_documents() -> None:
    first, again, other = [await sample(rows(), 50, seed) for seed in (1, 1, 2)]
    assert first == again
    assert set(first) != set(other)
    assert len(set(first)) == 50


async def test_every_shard_gives_its_share_and_neither_end_of_it_is_preferred() -> None:
    drawn = await sample(rows(), 400, 3)
    assert Counter(id_[:2] for id_ in drawn) == {"s0": 200, "s1": 200}
    older = sum(int(id_[3:]) <= 500 for id_ in drawn)
    assert 150 < older < 250
    large = FakeRows([rows().rows[0], rows(number=10).rows[0]], 1_000)
    assert len(await sample(large, 100, 3)) == 100


async def test_no_more_is_read_than_it_takes() -> None:
    world = rows(number=100_000)
    await sample(world, 100, 4)
    assert world.fetched <= 1_000
    assert world.scrolled == 0


async def test_where_most_rows_are_gone_documents_are_found_all_the_same() -> None:
    world = rows(number=100, every=50 * DRAWS)
    drawn = await sample(world, 40, 5)
    assert len(set(drawn)) == 40
    assert world.scrolled == 2


async def test_all_of_a_small_index_is_drawn_and_none_of_an_empty_one() -> None:
    assert len(await sample(rows(number=3), 200, 6)) == 6
    assert await sample(FakeRows([{}, {}], 0), 200, 6) == []
    assert await sample(FakeRows([{}], 70), 200, 6) == []
