"""Kubernetes quantities: `500m`, `2`, `4Gi`. An integer in YAML becomes its text, so that inside there is one type."""

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from .cel import Rule

_SCALE = {
    "n": Decimal("1e-9"),
    "u": Decimal("1e-6"),
    "m": Decimal("1e-3"),
    "": Decimal(1),
    "k": Decimal("1e3"),
    **{unit: Decimal(1000) ** power for power, unit in enumerate("MGTPE", start=2)},
    **{f"{unit}i": Decimal(1024) ** power for power, unit in enumerate("KMGTPE", start=1)},
}
_SHAPE = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))(?:([numkMGTPE]|[KMGTPE]i)|[eE]([+-]?\d+))?", re.ASCII)


def amount(quantity: str) -> Decimal:
    """The number that `quantity` stands for, as the API server reads it. Raises ValueError where it is none."""
    match = _SHAPE.fullmatch(quantity)
    if match is None:
        raise ValueError(f"{quantity!r} is not a quantity: write a number with a unit or none, such as 500m, 2 or 4Gi")
    number, unit, exponent = match.groups()
    return Decimal(number) * (_SCALE[unit or ""] if exponent is None else Decimal(10) ** int(exponent))


def times(quantity: str, number: int) -> str:
    """So many of it, in its own unit."""
    return written(amount(quantity) * number, like=quantity)


def written(number: Decimal, *, like: str) -> str:
    """A number in the unit of another quantity; without one where that is written with an exponent."""
    match = _SHAPE.fullmatch(like)
    unit = (match.group(2) or "") if match else ""
    return f"{(number / _SCALE[unit]).normalize():f}{unit}"


def _text(value: Any) -> Any:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _checked(value: str) -> str:
    amount(value)
    return value


Quantity = Annotated[
    str,
    AfterValidator(_checked),
    BeforeValidator(_text),
    WithJsonSchema({"x-kubernetes-int-or-string": True, "maxLength": 32}),
    Rule("isQuantity(string(self))", "must be a quantity: a number with an optional unit, such as 500m, 2 or 4Gi"),
]
"""A number with an optional unit."""

Amount = Annotated[
    Quantity,
    Rule("!isQuantity(string(self)) || !quantity(string(self)).isLessThan(quantity('0'))", "must not be negative"),
]
"""A quantity of zero or more."""

PositiveQuantity = Annotated[
    Quantity,
    Rule("!isQuantity(string(self)) || quantity(string(self)).isGreaterThan(quantity('0'))", "must be more than zero"),
]
"""A quantity above zero."""
