"""The measurements as one table: the median of the rounds, and ours over each peer's."""

import statistics
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from .dataset import Dataset
from .measure import Measurement
from .rounds import BESIDE_UPSERTS, IDLE, Record

OURS = "ours"
Figure = tuple[str, Callable[[Measurement], float], str]


def _p99(one: Measurement) -> float:
    return one.p99_milliseconds


READING: Sequence[Figure] = (
    ("recall@10", lambda one: one.recall, ".4f"),
    ("queries / CPU-s", lambda one: one.queries_per_cpu_second, ",.0f"),
    ("queries / s", lambda one: one.queries_per_second, ",.0f"),
    ("p50 ms", lambda one: one.p50_milliseconds, ".2f"),
    ("p99 ms", _p99, ".2f"),
)
WRITING: Sequence[Figure] = (
    ("upserts / s", lambda one: one.upserts_per_second, ",.0f"),
    ("upserts / CPU-s", lambda one: one.upserts_per_cpu_second, ",.0f"),
)


def print_report(data: Dataset, records: Sequence[Record], console: Console) -> None:
    systems = list(dict.fromkeys(record.system for record in records))
    peers = [name for name in systems if not name.startswith(OURS)] if OURS in systems else []
    table = Table(title=f"{data.name}: {len(data.documents):,} documents, {len(data.queries):,} queries; medians of rounds")
    for heading in ("", "", *systems, *(f"ours : {peer}" for peer in peers)):
        table.add_column(heading, justify="right" if heading else "left")
    for scenario in dict.fromkeys(record.scenario for record in records if record.measured):
        heading = scenario
        for label, figure, form in _figures(records, scenario):
            values = {name: _median(records, name, scenario, figure) for name in systems}
            ratios = [_ratio(values.get(OURS), values[peer]) for peer in peers]
            table.add_row(heading, label, *(_cell(values[name], form) for name in systems), *ratios)
            heading = ""
        table.add_section()
    console.print(table)
    for name in systems:
        console.print(f"{name}: {_size(records, name)}")
        quiet, busy = (_median(records, name, scenario, _p99) for scenario in (IDLE, BESIDE_UPSERTS))
        if quiet and busy:
            console.print(f"{name}: p99 of searches beside upserts {busy / quiet:.1f} times that without")


def _figures(records: Sequence[Record], scenario: str) -> Sequence[Figure]:
    """Where searches and writes share the processor time, it says nothing of either."""
    first = next(one.measured for one in records if one.scenario == scenario and one.measured)
    reads, writes = first.queries > 0, first.upserts_per_second > 0
    mixed = reads and writes
    figures = (*(READING if reads else ()), *(WRITING if writes else ()))
    return [figure for figure in figures if not (mixed and "CPU" in figure[0])]


def _median(records: Sequence[Record], system: str, scenario: str, figure: Callable[[Measurement], float]) -> float | None:
    measured = [one.measured for one in records if (one.system, one.scenario) == (system, scenario) and one.measured]
    values = [figure(one) for one in measured]
    kept = [value for value in values if value == value]  # not NaN
    return statistics.median(kept) if kept else None


def _cell(value: float | None, form: str) -> str:
    return "" if not value else format(value, form)


def _ratio(ours: float | None, peer: float | None) -> str:
    return f"{ours / peer:.2f}" if ours and peer else ""


def _size(records: Sequence[Record], system: str) -> str:
    loaded = next(one.loaded for one in records if one.system == system and one.loaded)
    memory = max((one.measured.memory_bytes for one in records if one.system == system and one.measured), default=0)
    return (
        f"load {loaded.load_seconds:.1f} s, build {loaded.build_seconds:.1f} s, "
        f"{memory / 2**20:,.0f} MiB of all its processes (proportional set)"
    )
