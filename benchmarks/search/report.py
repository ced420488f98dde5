"""The measurements as one table: the median of the rounds, and ours over each peer's."""

import statistics
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.table import Table

from .dataset import Dataset
from .measure import Measurement
from .rounds import Record

OURS = "ours"
Figure = tuple[str, Callable[[Measurement], float], str]
READING: Sequence[Figure] = (
    ("recall@10", lambda one: one.recall, ".4f"),
    ("queries / CPU-s", lambda one: one.queries_per_cpu_second, ",.0f"),
    ("queries / s", lambda one: one.queries_per_second, ",.0f"),
    ("p50 ms", lambda one: one.p50_milliseconds, ".2f"),
    ("p99 ms", lambda one: one.p99_milliseconds, ".2f"),
)
WRITING: Sequence[Figure] = (
    ("upserts / s", lambda one: one.upserts_per_second, ",.0f"),
    ("upserts / CPU-s", lambda one: one.upserts_per_cpu_second, ",.0f"),
)
RATIO = "queries / CPU-s"


def print_report(data: Dataset, records: Sequence[Record], console: Console) -> None:
    systems = list(dict.fromkeys(record.system for record in records))
    peers = [name for name in systems if not name.startswith(OURS)] if OURS in systems else []
    table = Table(title=f"{data.name}: {len(data.documents):,} documents, {len(data.queries):,} queries; medians of rounds")
    for heading in ("", "", *systems, *(f"ours : {peer}" for peer in peers)):
        table.add_column(heading, justify="right" if heading else "left")
    for scenario in dict.fromkeys(record.scenario for record in records if record.measured):
        for label, figure, form in (*READING, *WRITING):
            values = {name: _median(records, name, scenario, figure) for name in systems}
            if any(value for value in values.values()):
                ratios = [_ratio(values.get(OURS), values[peer]) for peer in peers]
                table.add_row(scenario, label, *(_cell(values[name], form) for name in systems), *ratios)
        table.add_section()
    console.print(table)
    for name in systems:
        console.print(f"{name}: {_size(records, name)}")


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
