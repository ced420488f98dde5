"""What was measured beside its idle counterpart and its target, as tables."""

import statistics
from collections.abc import Callable, Iterable, Sequence

import numpy as np
from rich.console import Console
from rich.table import Table

from .run import Figures, Rate, Searches, SearchRound
from .switches import Switch

STEPS = ("fencing", "retire", "activate")


def print_report(figures: Figures, console: Console) -> None:
    plan = figures.plan
    console.print(
        f"{plan.documents:,} documents, {plan.shards} shards, model {plan.model}; {figures.processors} processors, "
        f"load average {figures.load_average:.1f}"
    )
    table = Table()
    for heading in ("", "measured", "idle", "ratio", "target"):
        table.add_column(heading, justify="right" if heading else "left")
    for row in (*_pauses(figures.switches), *_searches(figures.searches), *_rates(figures.rates), _storage(figures)):
        table.add_row(*row)
    console.print(table)
    console.print(_steps(figures.switches))


Row = tuple[str, str, str, str, str]


def _pauses(switches: Sequence[Switch]) -> Iterable[Row]:
    if not switches:
        return
    figures: tuple[tuple[str, Callable[[Switch], float], Callable[[Switch], float], str], ...] = (
        ("slowest write of a switch", lambda s: s.writes.seconds, lambda s: s.idle_writes.seconds, "1 s"),
        ("longest time without an acknowledgement", lambda s: s.writes.gap, lambda s: s.idle_writes.gap, "1 s"),
        ("slowest search of a switch", lambda s: s.searches.seconds, lambda s: s.idle_searches.seconds, ""),
    )
    for name, busy, idle, target in figures:
        for what, share in (("p50", 50), ("p99", 99), ("max", 100)):
            mine, other = (float(np.percentile([one(s) for s in switches], share)) for one in (busy, idle))
            yield f"{name}, {what}", f"{mine:.3f} s", f"{other:.3f} s", f"{mine / other:.1f}" if other else "", target
    back = [s.asked_to_gateways for s in switches if s.name == "rollback"]
    if back:
        middle, worst = statistics.median(back), max(back)
        yield "rollback: annotation to gateways, p50", f"{middle:.3f} s", "", "", "2 s"
        yield "rollback: annotation to gateways, max", f"{worst:.3f} s", "", "", "2 s"
    failed, of_idle = (
        sum(one.failures for one in found)
        for found in (
            [one for s in switches for one in (s.writes, s.searches)],
            [one for s in switches for one in (s.idle_writes, s.idle_searches)],
        )
    )
    yield "requests that failed, all switches", str(failed), str(of_idle), "", "0"


def _searches(rounds: Sequence[SearchRound]) -> Iterable[Row]:
    kinds: tuple[tuple[str, Callable[[SearchRound], Searches | None], str], ...] = (
        ("with the brake", lambda one: one.braked, "1.5"),
        ("without the brake", lambda one: one.free, ""),
    )
    shares: tuple[tuple[str, Callable[[Searches], float]], ...] = (
        ("p50", lambda one: one.p50_milliseconds),
        ("p99", lambda one: one.p99_milliseconds),
    )
    for name, kind, target in kinds:
        pairs = [(one.idle, found) for one in rounds if (found := kind(one))]
        for share, figure in shares if pairs else ():
            idle, busy = (statistics.median(figure(pair[side]) for pair in pairs) for side in (0, 1))
            ratio = statistics.median(figure(b) / figure(i) for i, b in pairs)
            speed = statistics.median(b.rows_per_second for _, b in pairs)
            label = f"{share} of searches {name}, {speed:,.0f} documents/s"
            yield label, f"{busy:.0f} ms", f"{idle:.0f} ms", f"{ratio:.2f}", target if share == "p99" else ""


def _rates(rates: Sequence[Rate]) -> Iterable[Row]:
    """The counterpart is the encoder alone."""
    if not rates:
        return
    mine, most = statistics.median(r.rebuild for r in rates), statistics.median(r.ceiling for r in rates)
    ratio = statistics.median(r.rebuild / r.ceiling for r in rates)
    yield "documents/s, beside the encoder's own ceiling", f"{mine:,.0f}", f"{most:,.0f}", f"{ratio:.2f}", "0.90"
    mine, most = (
        statistics.median(rate / cpu for rate, cpu in pairs if cpu)
        for pairs in (
            [(r.rebuild, r.rebuild_encoder_cpu) for r in rates],
            [(r.ceiling, r.ceiling_encoder_cpu) for r in rates],
        )
    )
    yield "documents a CPU-second of the encoder", f"{mine:,.0f}", f"{most:,.0f}", f"{mine / most:.2f}", ""


def _storage(figures: Figures) -> Row:
    green, blue = figures.green_bytes, figures.blue_bytes
    ratio = f"{green / blue:.2f}" if blue else ""
    label = f"volumes, {figures.green_dimensions} dimensions beside {figures.blue_dimensions}"
    return label, _mib(green), _mib(blue), ratio, ""


def _steps(switches: Sequence[Switch]) -> Table:
    table = Table(title="Where the time of a switch goes (medians, seconds)", title_justify="left")
    for heading in ("", "switches", "asked to fence", *STEPS, "fence to open", "in calls"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in dict.fromkeys(s.name for s in switches):
        these = [s for s in switches if s.name == name]
        calls = {what: statistics.median(s.spent.get(what, 0.0) for s in these) for what in {k for s in these for k in s.spent}}
        counts = {what: statistics.median(s.calls.get(what, 0) for s in these) for what in calls}
        spent = ", ".join(f"{what} {seconds:.2f} ({counts[what]:.0f}×)" for what, seconds in sorted(calls.items()))
        middle = [statistics.median(s.steps.get(step, 0.0) for s in these) for step in STEPS]
        figures = (
            statistics.median(s.asked_to_fence for s in these),
            *middle,
            statistics.median(s.fence_to_open for s in these),
        )
        table.add_row(name, str(len(these)), *(f"{one:.3f}" for one in figures), spent)
    return table


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f} MiB"
