"""What one search sees, from its start to its end: the slots, and the engines in front of them."""

from dataclasses import dataclass

from .depths import Depths
from .engines import Engine, EngineSpec, FaissEngine
from .gate import Gate
from .slots import SlotsView


@dataclass(frozen=True, slots=True)
class Main:
    """The engine that the build process made of the slots [0, count). Never changes."""

    engine: Engine
    spec: EngineSpec
    count: int
    depths: Depths


@dataclass(frozen=True, slots=True)
class Tail:
    """Codes of the slots from `first` on, appended to under the gate. `chunk`: the writer's, encoded and not yet taken."""

    engine: FaissEngine
    chunk: FaissEngine
    first: int
    depths: Depths
    gate: Gate


@dataclass(frozen=True, slots=True)
class View:
    """Slots [0, main.count) are in `main`, [main.count, folded) in `tail`, the rest (delta) nowhere: scanned exactly."""

    slots: SlotsView
    main: Main | None = None
    tail: Tail | None = None
    folded: int = 0
