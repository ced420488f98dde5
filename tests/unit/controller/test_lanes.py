"""Whose turn it is: nobody's trouble holds every worker."""

from embedding_operator.lanes import Key, Lanes


def keys(namespace: str, count: int) -> list[Key]:
    return [Key("EmbeddingModel", namespace, f"m{index}") for index in range(count)]


def lanes_with(workers: int, *, changes: list[Key] = [], repeats: list[Key] = []) -> Lanes:  # noqa: B006 - only read
    lanes = Lanes(workers)
    for due, key in enumerate(changes):
        lanes.put(key, due, changed=True)
    for due, key in enumerate(repeats):
        lanes.put(key, due, changed=False)
    return lanes


def take_all(lanes: Lanes) -> list[Key]:
    taken = []
    while (key := lanes.take()) is not None:
        taken.append(key)
    return taken


def test_in_one_namespace_the_first_to_come_is_the_first_served() -> None:
    changes = keys("a", 5)
    assert take_all(lanes_with(8, changes=changes)) == changes


def test_namespaces_take_turns() -> None:
    lanes = lanes_with(8, changes=[*keys("a", 4), *keys("b", 2)])
    assert [key.namespace for key in take_all(lanes)] == ["a", "b", "a", "b", "a", "a"]


def test_changes_and_repeats_take_turns() -> None:
    lanes = lanes_with(8, changes=keys("changed", 3), repeats=keys("repeated", 3))
    assert [key.namespace for key in take_all(lanes)] == ["changed", "repeated"] * 3


def test_one_namespace_does_not_get_every_worker() -> None:
    lanes = lanes_with(8, changes=keys("hanging", 50))
    assert len(take_all(lanes)) == 6
    other = Key("EmbeddingModel", "other", "m")
    lanes.put(other, 99, changed=True)
    assert lanes.take() == other


def test_repeats_do_not_get_every_worker() -> None:
    lanes = lanes_with(8, repeats=[*keys("a", 5), *keys("b", 5)])
    running = take_all(lanes)
    assert len(running) == 4
    lanes.put(Key("EmbeddingModel", "a", "changed"), 99, changed=True)
    assert lanes.take() == Key("EmbeddingModel", "a", "changed")
    lanes.done(running[0])
    assert lanes.take() is not None


def test_the_only_worker_does_everything() -> None:
    lanes = lanes_with(1, changes=keys("a", 2), repeats=keys("b", 2))
    order = []
    while (key := lanes.take()) is not None:
        order.append(key.namespace)
        lanes.done(key)
    assert sorted(order) == ["a", "a", "b", "b"]


def test_a_repeat_that_changes_becomes_a_change_and_is_served_once() -> None:
    first, second = keys("a", 2)
    lanes = lanes_with(8, repeats=[first, second])
    lanes.put(second, 7, changed=True)
    lanes.put(second, 8, changed=True)
    lanes.put(second, 9, changed=False)
    assert lanes.waiting() == (2, 0)
    assert take_all(lanes) == [second, first]
    assert not lanes._changes
    assert not lanes._repeats


def test_what_waits_is_counted_by_the_oldest() -> None:
    lanes = lanes_with(8, changes=keys("a", 2), repeats=keys("b", 3))
    assert lanes.waiting() == (5, 0)
    assert Lanes(8).waiting() == (0, None)
    key = lanes.take()
    assert key is not None
    assert lanes.waiting() == (4, 0)
    assert lanes.runs(key)
    assert key not in lanes
    lanes.done(key)
    assert not lanes.runs(key)
