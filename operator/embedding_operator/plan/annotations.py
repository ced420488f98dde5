"""What people say by annotation, each naming the generation that it is about: what still asks for something, what never will.

An annotation stays on the object after it was obeyed, and GitOps puts it back: so a value that was acted upon, or that
names nothing any more, is on record with the route and does nothing until it is another one.
"""

from collections.abc import Mapping

from embedding_serving.contract.route import Phase, Route, TurnedDown

from ..build import names

ABOUT_ONE = (names.PROMOTE, names.ABORT, names.PAUSE, names.RESUME, names.ROLLBACK, names.RETRY)
_SETTLING = frozenset({Phase.FENCING, Phase.COMMITTED, Phase.REOPENING, Phase.COLLECTING})


def open_ones(route: Route, annotations: Mapping[str, str]) -> dict[str, str]:
    """Those that may still ask for something."""
    return {name: annotations[name] for name in ABOUT_ONE if name in annotations and annotations[name] != route.acted.get(name)}


def unheeded(route: Route, said: Mapping[str, str]) -> dict[str, str]:
    """Annotations that name a generation of which this can't be asked any more, with what to say. Empty = it was done."""
    if route.phase in _SETTLING:
        return {}
    return {name: text for name, value in said.items() if (text := _why_not(route, name, value)) is not None}


def _why_not(route: Route, name: str, value: str) -> str | None:
    """None where it can be heeded now, or may be later."""
    short = name.rpartition("/")[2]
    if not value.isdigit():
        return f"annotation {short} is {value!r}: it names a generation by its number"
    number = int(value)
    if number >= route.next_generation:
        return None
    building = route.other if route.phase is Phase.BUILDING else None
    match name:
        case names.ROLLBACK:
            if number == route.writer:
                return None if route.phase is Phase.OBSERVING else _nothing_to_go_back_to(number)
            left = route.refused and route.refused.generation == number and route.refused.reason is TurnedDown.ROLLED_BACK
            return "" if left else f"annotation rollback is {number}: generation {route.writer} takes writes, not {number}"
        case names.RETRY:
            if route.refused and route.refused.generation == number:
                return None
            return f"annotation retry is {number}: nothing made for generation {number} is turned down now"
    if number == building:
        return None
    if name == names.PROMOTE and number == route.writer:
        return ""
    if name in (names.PAUSE, names.RESUME) or (name == names.ABORT and route.refused and route.refused.generation == number):
        return ""
    now = f"generation {building} is being built" if building else f"generation {route.writer} serves, none is being built"
    return f"annotation {short} is {number}: {now}"


def _nothing_to_go_back_to(number: int) -> str:
    return f"annotation rollback is {number}: the window is over and the generation before {number} is gone. Set the spec back"
