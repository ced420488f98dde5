"""What is measured of two generations: recall by score, overlap by document, golden queries all or nothing."""

import pytest

from embedding_serving.analyse.golden import Golden, GoldenQuery
from embedding_serving.analyse.measure import FEWEST_QUERIES, compare, find_golden
from embedding_serving.analyse.side import Query
from embedding_serving.contract.settings import Check
from embedding_serving.failure import StartFailed
from embedding_serving.outgoing.deadline import Deadline

from .fakes import FakeSide, unit

NUMBER = 40
IDS = [f"d{number}" for number in range(NUMBER)]
OVER = Deadline(0.0)
SAMPLED = frozenset({Check.RECALL, Check.OVERLAP, Check.LATENCY})


def later() -> Deadline:
    return Deadline.after(60)


def side(seed: int = 0, name: str = "", **changes: object) -> FakeSide:
    """Documents and the questions about them are where this seed puts them."""
    documents = {id_: unit(1_000 * seed + number) for number, id_ in enumerate(IDS)}
    texts = {f"about {id_}": vector for id_, vector in documents.items()}
    return FakeSide(documents, texts, name=name, **changes)  # type: ignore[arg-type]


async def test_a_generation_that_finds_everything() -> None:
    found = await compare(side(), side(), IDS, SAMPLED, later())
    assert (found.queries, found.recall, found.overlap) == (NUMBER, 1.0, 1.0)
    assert found.latency_increase_percent is not None


async def test_recall_is_the_share_of_the_true_neighbours_that_the_index_finds() -> None:
    green = side()
    green.blind = set(IDS[:20])
    expected = 0.0
    for id_ in IDS:
        true = [hit.id for hit in await green.near(green.documents[id_], 10, exact=True)]
        expected += sum(hit not in green.blind for hit in true) / 10 / NUMBER
    found = await compare(side(), green, IDS, frozenset({Check.RECALL}), later())
    assert found.recall == pytest.approx(expected, abs=1e-5)
    assert (found.overlap, found.latency_increase_percent) == (None, None)


async def test_of_equal_vectors_any_will_do() -> None:
    green = side()
    green.documents = dict.fromkeys(IDS, green.documents["d0"])
    green.blind = set(IDS[:5])
    found = await compare(side(), green, IDS, frozenset({Check.RECALL}), later())
    assert found.recall == 1.0


async def test_overlap_goes_by_documents_and_each_side_has_its_own_vectors() -> None:
    blue, green = side(0), side(1)
    found = await compare(blue, green, IDS, frozenset({Check.OVERLAP}), later())
    expected = 0.0
    for id_ in IDS:
        old = {hit.id for hit in await blue.near(blue.documents[id_], 10)}
        new = {hit.id for hit in await green.near(green.documents[id_], 10)}
        expected += len(old & new) / 10 / NUMBER
    assert found.overlap == pytest.approx(expected, abs=1e-5)
    assert found.recall is None
    assert 0 < expected < 1


async def test_what_the_new_generation_lacks_counts_against_it() -> None:
    blue, green = side(), side()
    green.documents = {id_: green.documents[id_] for id_ in IDS[:5]}
    found = await compare(blue, green, IDS, frozenset({Check.OVERLAP}), later())
    expected = [len({hit.id for hit in await blue.near(blue.documents[id_], 10)} & set(IDS[:5])) / 10 for id_ in IDS]
    assert found.overlap == pytest.approx(sum(expected) / NUMBER, abs=1e-5)


async def test_both_are_asked_in_turns_and_blue_only_where_it_matters() -> None:
    journal: list[str] = []
    blue, green = side(0, "blue", journal=journal), side(0, "green", journal=journal)
    await compare(blue, green, IDS[:4], frozenset({Check.OVERLAP}), later())
    assert journal == ["blue", "green", "green", "blue", "blue", "green", "green", "blue"]
    journal.clear()
    await compare(blue, green, IDS[:4], frozenset({Check.RECALL}), later())
    assert journal == ["green"] * 4


async def test_a_document_that_makes_no_query_is_passed_over() -> None:
    green = side(refused={"about d3"})
    found = await compare(side(), green, [*IDS, "deleted meanwhile"], SAMPLED, later())
    assert (found.queries, found.recall) == (NUMBER - 1, 1.0)


async def test_a_text_that_breaks_the_encoder_is_passed_over_but_a_broken_encoder_is_no_number() -> None:
    found = await compare(side(), side(failing={"about d3"}), IDS, SAMPLED, later())
    assert (found.queries, found.recall) == (NUMBER - 1, 1.0)
    with pytest.raises(StartFailed, match="the encoder answered 500"):
        await compare(side(), side(failing={f"about {id_}" for id_ in IDS}), IDS, SAMPLED, later())


async def test_an_empty_new_generation_has_no_recall() -> None:
    found = await compare(side(), FakeSide({}, side().texts), IDS, SAMPLED, later())
    assert (found.queries, found.recall, found.overlap) == (NUMBER, None, 0.0)


async def test_too_few_queries_in_time_are_no_numbers() -> None:
    with pytest.raises(StartFailed, match=f"0 of {NUMBER} queries were answered when the time was over"):
        await compare(side(), side(), IDS, SAMPLED, OVER)
    assert NUMBER > FEWEST_QUERIES
    assert (await compare(side(), side(), [], SAMPLED, OVER)).queries == 0


def golden(line: int, text: str, *ids: str, k: int = 10) -> GoldenQuery:
    return GoldenQuery(line, Query(text=text), ids, None, k)


async def test_a_golden_query_is_a_hit_when_all_its_documents_are_found() -> None:
    green = side()
    near = [hit.id for hit in await green.near(green.documents["d5"], 3)]
    far = [hit.id for hit in await green.near(green.documents["d5"], NUMBER)][-1]
    queries = (
        golden(1, "about d5", *near, k=3),
        golden(2, "about d5", near[0], far, k=3),
        golden(3, "about d5", near[2], k=2),
        golden(4, "about d5", near[0]),
    )
    found = await find_golden(side(), green, Golden(queries, ()), later())
    assert (found.queries, found.hit, found.faults) == (4, 0.5, ())
    assert found.missed == (f"line 2: {far!r} is not among the first 3", f"line 3: {near[2]!r} is not among the first 2")


async def test_a_document_that_the_new_generation_alone_lacks_is_a_miss() -> None:
    blue, green = side(), side()
    del green.documents["d1"]
    found = await find_golden(blue, green, Golden((golden(7, "about d1", "d1"),), ()), later())
    assert (found.hit, found.faults) == (0.0, ())
    found = await find_golden(blue, green, Golden((golden(7, "about d1", "d99"),), ()), later())
    assert (found.hit, found.faults) == (None, ("line 7: there is no document 'd99'",))


async def test_a_golden_query_that_the_model_refuses_is_a_fault_of_the_line() -> None:
    green = side(refused={"long"})
    queries = (golden(2, "long", "d1"), golden(3, "about d1", "d1"))
    found = await find_golden(side(), green, Golden(queries, ("line 1: x",)), later())
    assert found.faults == ("line 1: x", "line 2: this text is too long")
    assert (found.queries, found.hit) == (1, 1.0)


async def test_golden_queries_are_asked_all_or_not_at_all() -> None:
    with pytest.raises(StartFailed, match="0 of 1 golden queries were asked"):
        await find_golden(side(), side(), Golden((golden(1, "about d1", "d1"),), ()), OVER)
