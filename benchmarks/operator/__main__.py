"""`python -m benchmarks.operator`: cost by number of models, and what sick models cost the healthy ones."""

import argparse
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from . import growth, sick
from .growth import Growth
from .process import ROOT
from .sick import SICKNESSES, Delays

SIZES = (1, 10, 100, 1000)
ALLOWED_GROWTH = 2.0
"""Of the CPU time a model: costs that are linear stay near 1, and quadratic ones would be near 10 from 100 to 1,000."""
console = Console(highlight=False, width=None if sys.stdout.isatty() else 150)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, nargs="+", default=SIZES, metavar="N", help="numbers of models")
    parser.add_argument("--rounds", type=int, default=1, help="how often each, in turn; tables show medians")
    parser.add_argument("--only", choices=("growth", "sick"), help="one of the two parts")
    parser.add_argument("--source", type=Path, default=ROOT, help="another checkout's operator, for before and after")
    arguments = parser.parse_args()
    faults: list[str] = []
    if arguments.only != "sick":
        faults += _growth(sorted(arguments.models), arguments.rounds, arguments.source)
    if arguments.only != "growth":
        _sick(sick.measure(arguments.rounds, arguments.source))
    for fault in faults:
        console.print(f"[red]{fault}")
    return 1 if faults else 0


def _growth(sizes: Sequence[int], rounds: int, source: Path) -> list[str]:
    measured: dict[int, list[Growth]] = {size: [] for size in sizes}
    for number in range(rounds):
        for size in sizes:
            began = time.monotonic()
            measured[size].append(growth.measure(size, source))
            took = time.monotonic() - began
            console.print(f"round {number + 1}: {size} models measured in {took:.0f} s", style="dim")
    _print_growth(measured)
    _print_writes(measured[sizes[-1]][-1])
    return _faults(measured)


Figure = Callable[[Growth], float]

FIGURES: tuple[tuple[str, str, Figure], ...] = (
    ("create: converged after", "s", lambda g: g.creation.seconds),
    ("create: models a second", "", lambda g: g.models / g.creation.seconds),
    ("create: looks a model", "", lambda g: g.creation.reconciles / g.models),
    ("create: calls a model", "", lambda g: sum(g.creation.calls.values()) / g.models),
    ("create: writes a model", "", lambda g: sum(g.creation.writes.values()) / g.models),
    ("create: operator's CPU a model", "ms", lambda g: 1e3 * g.creation.operator_cpu_seconds / g.models),
    ("create: API server's CPU a model", "ms", lambda g: 1e3 * g.creation.api_server_cpu_seconds / g.models),
    ("restart: leads after", "s", lambda g: g.restart.to_lease_seconds),
    ("restart: has looked at every model after", "s", lambda g: g.restart.to_last_model_seconds),
    ("restart: looks a model", "", lambda g: g.restart.looks / g.models),
    ("restart: writes", "", lambda g: g.restart.writes),
    ("restart: operator's CPU", "s", lambda g: g.restart.operator_cpu_seconds),
    ("memory without a model, RSS", "MiB", lambda g: g.empty.resident),
    ("memory after restart, RSS", "MiB", lambda g: g.restart.memory.resident),
    ("memory after restart, PSS", "MiB", lambda g: g.restart.memory.proportional),
    ("memory after restart, a model", "KiB", lambda g: 1024 * (g.restart.memory.resident - g.empty.resident) / g.models),
    ("quiet: looks", "", lambda g: g.quiet.looks),
    ("quiet: writes", "", lambda g: g.quiet.writes),
    ("quiet: operator's CPU, 1,000 looks", "s", lambda g: 1e3 * g.quiet.operator_cpu_seconds / g.quiet.looks),
    ("quiet: API server's CPU, 1,000 looks", "s", lambda g: 1e3 * g.quiet.api_server_cpu_seconds / g.quiet.looks),
)


def _print_growth(measured: dict[int, list[Growth]]) -> None:
    sizes = list(measured)
    table = Table(title="What N models cost", title_justify="left")
    table.add_column("")
    for size in sizes:
        table.add_column(f"{size:,}", justify="right")
    for larger, smaller in _ratios(sizes):
        table.add_column(f"{larger:,} : {smaller:,}", justify="right")
    for name, unit, figure in FIGURES:
        values = {size: _median(figure, measured[size]) for size in sizes}
        ratios = [values[larger] / values[smaller] if values[smaller] else None for larger, smaller in _ratios(sizes)]
        shown = [f"{value:,.2f} {unit}".strip() for value in values.values()]
        table.add_row(name, *shown, *("" if ratio is None else f"{ratio:.2f}" for ratio in ratios))
    console.print(table)


def _ratios(sizes: Sequence[int]) -> Iterable[tuple[int, int]]:
    """The largest beside the one below it, and beside the smallest."""
    return [(sizes[-1], other) for other in dict.fromkeys((sizes[0], *sizes[-2:-1])) if other != sizes[-1]]


def _print_writes(largest: Growth) -> None:
    table = Table(title=f"Calls of the operator a model, to create {largest.models:,}", title_justify="left")
    for column in ("verb", "resource"):
        table.add_column(column)
    table.add_column("calls a model", justify="right")
    for (verb, resource), count in sorted(largest.creation.calls.items()):
        if resource != "leases":
            table.add_row(verb, resource, f"{count / largest.models:.2f}")
    console.print(table)


def _faults(measured: dict[int, list[Growth]]) -> list[str]:
    """What may not be, however slow the machine is."""
    found = [
        f"{size:,} models: {one.restart.writes} writes at restart and {one.quiet.writes} in quiet, where none is due"
        for size, rounds in measured.items()
        for one in rounds
        if one.restart.writes or one.quiet.writes
    ]
    sizes = list(measured)
    if len(sizes) > 1:
        small, large = (_median(_cpu_of_a_model, measured[size]) for size in sizes[-2:])
        verdict = "linear" if large / small < ALLOWED_GROWTH else "not linear"
        text = f"creating {sizes[-1]:,} costs {large / small:.2f} times the operator's CPU a model of {sizes[-2]:,}: {verdict}"
        console.print(text)
        found += [text] if verdict != "linear" else []
    return found


def _cpu_of_a_model(g: Growth) -> float:
    return g.creation.operator_cpu_seconds / g.models


def _median(figure: Figure, rounds: Sequence[Growth]) -> float:
    return statistics.median(figure(one) for one in rounds)


def _sick(measured: Sequence[Delays]) -> None:
    table = Table(title="From a change of a healthy model to the write of its Deployment", title_justify="left")
    for column in ("while", "p50 ms", "p90 ms", "worst ms", "p50 : nobody sick", "looks at sick ones"):
        table.add_column(column, justify="left" if column == "while" else "right")
    by_name = {sickness.name: [one for one in measured if one.sickness == sickness.name] for sickness in SICKNESSES}
    healthy = statistics.median(_seconds(by_name[SICKNESSES[0].name]))
    for name, rounds in by_name.items():
        seconds = sorted(_seconds(rounds))
        middle, high, worst = statistics.median(seconds), seconds[int(len(seconds) * 0.9)], seconds[-1]
        shown = [f"{1e3 * value:,.0f}" for value in (middle, high, worst)]
        table.add_row(name, *shown, f"{middle / healthy:.1f}", f"{sum(one.sick_looks for one in rounds):,}")
    console.print(table)


def _seconds(rounds: Iterable[Delays]) -> list[float]:
    return [value for one in rounds for value in one.seconds]


if __name__ == "__main__":
    sys.exit(main())
