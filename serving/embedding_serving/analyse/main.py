"""`python -m embedding_serving analyse`: settings from the environment; 0 and numbers, or 1 and the reason, in the report."""

import asyncio
import logging
from pathlib import Path

import aiohttp

from ..contract.index import IndexName
from ..contract.reports import AnalysisReport, Outcome
from ..contract.route import GenerationRoute
from ..contract.settings import AnalyseSettings, Check
from ..failure import StartFailed
from ..gateway.failures import ShardRefused
from ..gateway.fanout import Fanout
from ..gateway.metrics import Metrics
from ..gateway.pods import Fleet
from ..gateway.routes import Pin
from ..outgoing.deadline import Deadline
from ..outgoing.encoder import Encoders, Priority
from ..outgoing.failures import EncodingFailed
from ..role import run_role, stop_event
from .golden import parse_golden
from .measure import Compared, GoldenFound, compare, find_golden
from .sample import sample
from .side import Side

log = logging.getLogger(__name__)

OF_DOCUMENTS = frozenset({Check.RECALL, Check.OVERLAP, Check.LATENCY})
ANY_EPOCH = 0
"""Reads go by generation and fingerprint; no decision of the route follows from this one's."""


def main() -> int:
    return run_role(AnalyseSettings, serve)


async def serve(settings: AnalyseSettings) -> int:
    """Measures until it is done or told to stop. Raises StartFailed."""
    stopping = asyncio.ensure_future(stop_event().wait())
    measuring = asyncio.ensure_future(_measured(settings))
    generations = {"blue": settings.blue.generation, "green": settings.green.generation}
    log.info("comparing", extra=generations | {"checks": settings.checks, "sample_size": settings.sample_size})
    await asyncio.wait({measuring, stopping}, return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if not measuring.done():
        measuring.cancel()
        raise StartFailed(Outcome.UNAVAILABLE, "it was told to stop before it had measured everything")
    text = measuring.result().dump()
    log.info("report", extra={"report": text})
    Path(settings.termination_path).write_text(text)
    return 0


async def _measured(settings: AnalyseSettings) -> AnalysisReport:
    metrics = Metrics()
    fleet = Fleet(settings.pod, IndexName(settings.namespace, settings.index))
    fleet.keep([settings.blue, settings.green])
    connector = aiohttp.TCPConnector(use_dns_cache=False)
    try:
        async with aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False) as session:
            fanout, encoders = Fanout(metrics), Encoders(session, metrics.encoder_call)

            def side(generation: GenerationRoute, *, canary: bool) -> Side:
                # What is timed must wait as those wait who search.
                timed = Check.LATENCY in settings.checks
                priority = Priority.INTERACTIVE if timed else Priority.BULK
                pin = Pin(0, ANY_EPOCH, generation, canary)
                return Side(pin, fleet, fanout, encoders, settings.timeout_seconds, settings.pod, priority)

            blue, green = side(settings.blue, canary=False), side(settings.green, canary=True)
            return await _report(settings, blue, green)
    except (ShardRefused, EncodingFailed) as error:
        raise StartFailed(Outcome.UNAVAILABLE, str(error)) from error
    finally:
        fleet.close()


async def _report(settings: AnalyseSettings, blue: Side, green: Side) -> AnalysisReport:
    checks = frozenset(settings.checks)
    deadline = Deadline.after(settings.deadline_seconds)
    found = GoldenFound(0, None, (), ())
    if Check.GOLDEN in checks:
        golden = parse_golden(_golden_file(settings), settings.green)
        found = await find_golden(blue, green, golden, deadline)
    compared = Compared(0, None, None, None)
    if checks & OF_DOCUMENTS:
        ids = await sample(blue, settings.sample_size, settings.seed)
        compared = await compare(blue, green, ids, checks, deadline)
    return AnalysisReport(
        generation=settings.green.generation,
        queries=compared.queries,
        documents=sum(size.documents for size in await green.sizes()),
        active_documents=sum(size.documents for size in await blue.sizes()),
        recall=compared.recall,
        overlap=compared.overlap,
        latency_increase_percent=compared.latency_increase_percent,
        golden_queries=found.queries,
        golden_hit=found.hit,
        golden_faults=found.faults,
        golden_missed=found.missed,
    )


def _golden_file(settings: AnalyseSettings) -> bytes:
    try:
        return Path(settings.golden_path).read_bytes()
    except OSError as error:
        detail = f"the golden queries cannot be read: {settings.golden_path}: {error.strerror}"
        raise StartFailed(Outcome.UNAVAILABLE, detail) from error
