"""One form for filters that are written differently and say the same, as far as that is cheap to see."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Literal

import orjson

from .grammar import Condition, Filter, MinShould


def normal(filter_: Filter) -> Filter:
    """The normal form of a filter whose nested filters are in normal form: applied twice it changes nothing."""
    while (simpler := _simplified(filter_)) != filter_:
        filter_ = simpler
    return filter_


def _simplified(filter_: Filter) -> Filter:
    filter_ = _without_min_should(filter_)
    should = _ordered(_spliced(filter_.should, "should"))
    must = filter_.must
    if len(should) == 1:
        must, should = (*must, *should), ()
    must = _ordered(one for one in _spliced(must, "must") if one != Filter())
    filter_ = replace(filter_, must=must, should=should, must_not=_ordered(_spliced(filter_.must_not, "should")))
    inner = simplest(filter_)
    return inner if isinstance(inner, Filter) else filter_


def simplest(filter_: Filter) -> Condition:
    """The only condition of a filter that must hold, or the filter itself."""
    (*_, only) = filter_.must or (filter_,)
    return only if filter_ == Filter(must=(only,)) else filter_


def _without_min_should(filter_: Filter) -> Filter:
    least = filter_.min_should
    if least is None:
        return filter_
    if least.min_count == len(least.conditions):
        return replace(filter_, must=(*filter_.must, *least.conditions), min_should=None)
    if least.min_count == 1 and not filter_.should:
        return replace(filter_, should=least.conditions, min_should=None)
    return replace(filter_, min_should=MinShould(tuple(sorted(least.conditions, key=_text)), least.min_count))


def _spliced(conditions: tuple[Condition, ...], part: Literal["must", "should"]) -> list[Condition]:
    """Conditions with those of a nested filter that has nothing but `part` in its place."""
    found: list[Condition] = []
    for one in conditions:
        inner = getattr(one, part) if isinstance(one, Filter) else ()
        alone = Filter(must=inner) if part == "must" else Filter(should=inner)
        found.extend(inner if inner and one == alone else (one,))
    return found


def _ordered(conditions: Iterable[Condition]) -> tuple[Condition, ...]:
    return tuple(sorted(set(conditions), key=_text))


def _text(condition: Condition) -> bytes:
    return orjson.dumps(condition.canonical())
