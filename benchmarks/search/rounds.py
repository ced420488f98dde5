"""The order of measurements: what reads, round by round and system by system in turn; then what writes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.console import Console

from .dataset import PERCENTS, Dataset
from .job import Search, Upsert
from .measure import ClientFailed, Measurement, measure
from .system import Loaded, System

RECALL_WANTED = 0.99
FILTERED_RECALL_WANTED = 0.98
UPSERT_BATCH = 100
UPSERT_CONNECTIONS = 4
UPSERTS_PER_SECOND = 5_000
"""The pace of writes under which the latency of searches is measured."""
IDLE = "1 client"
BESIDE_UPSERTS = f"1 client beside {UPSERTS_PER_SECOND:,} upserts/s"


@dataclass(frozen=True)
class Plan:
    rounds: int
    seconds: float


@dataclass(frozen=True)
class Record:
    """One measurement, or why there is none; of `load`, its seconds alone. effort: of the knob that trades speed for recall."""

    system: str
    scenario: str
    round: int
    effort: int | None = None
    measured: Measurement | None = None
    loaded: Loaded | None = None
    failure: str | None = None


@dataclass(frozen=True)
class Scenario:
    name: str
    search: Search | None = None
    upsert: Upsert | None = None

    @property
    def percent(self) -> int | None:
        return self.search.percent if self.search else None


def reading(seconds: float) -> Sequence[Scenario]:
    filtered = [Scenario(f"filter {percent} %", Search(1, seconds, percent)) for percent in PERCENTS]
    return [Scenario(IDLE, Search(1, seconds)), Scenario("8 clients", Search(8, seconds)), *filtered]


def writing(seconds: float) -> Sequence[Scenario]:
    paced = Upsert(UPSERT_CONNECTIONS, seconds, UPSERT_BATCH, rate=UPSERTS_PER_SECOND)
    return [
        Scenario(BESIDE_UPSERTS, Search(1, seconds), paced),
        Scenario("upserts", None, Upsert(UPSERT_CONNECTIONS, seconds, UPSERT_BATCH)),
    ]


def run_rounds(data: Dataset, systems: Sequence[System], plan: Plan, console: Console) -> list[Record]:
    """A measurement that fails is recorded, and the others go on. Raises ClientFailed where a system cannot be calibrated."""
    records = []
    efforts: dict[str, dict[int | None, int | None]] = {}
    for system in systems:
        loaded = system.load(data)
        records.append(Record(system.name, "load", 0, loaded=loaded))
        console.print(f"{system.name}: loaded in {loaded.load_seconds:.1f} s, index built in {loaded.build_seconds:.1f} s")
        efforts[system.name] = calibrated(system, data, plan)
        console.print(f"{system.name}: effort for the recall wanted, by filter {efforts[system.name]}")
    for number, scenario in _order(plan):
        for system in systems:
            effort = efforts[system.name][scenario.percent]
            try:
                measured = measure(system, data, effort, search=scenario.search, upsert=scenario.upsert)
            except ClientFailed as error:
                records.append(Record(system.name, scenario.name, number, effort, failure=f"{error}\n{system.complaints()}"))
                console.print(f"round {number + 1}, {scenario.name}, {system.name}: FAILED\n{records[-1].failure}")
                continue
            records.append(Record(system.name, scenario.name, number, effort, measured))
            console.print(f"round {number + 1}, {scenario.name}, {system.name}: {_line(measured)}")
    return records


def _order(plan: Plan) -> Iterator[tuple[int, Scenario]]:
    """Writes come last: what they leave behind (dead rows) would change what is read."""
    for scenarios in (reading(plan.seconds), writing(plan.seconds)):
        for number in range(plan.rounds):
            for scenario in scenarios:
                yield number, scenario


def calibrated(system: System, data: Dataset, plan: Plan) -> dict[int | None, int | None]:
    """For each filter the least effort whose recall is enough, or the greatest where none is."""
    chosen: dict[int | None, int | None] = {}
    for percent in (None, *PERCENTS):
        chosen[percent] = None
        wanted = RECALL_WANTED if percent is None else FILTERED_RECALL_WANTED
        for effort in system.efforts:
            chosen[percent] = effort
            if measure(system, data, effort, search=Search(2, plan.seconds / 2, percent)).recall >= wanted:
                break
    return chosen


def _line(measured: Measurement) -> str:
    parts = []
    if measured.queries:
        parts.append(
            f"recall {measured.recall:.4f}, {measured.queries_per_second:,.0f} queries/s, "
            f"{measured.queries_per_cpu_second:,.0f} queries/CPU-s, "
            f"p50 {measured.p50_milliseconds:.2f} ms, p99 {measured.p99_milliseconds:.2f} ms"
        )
    if measured.upserts_per_second:
        parts.append(f"{measured.upserts_per_second:,.0f} upserts/s")
    return "; ".join(parts)
