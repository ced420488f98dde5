"""`python -m embedding_serving shard`: settings from the environment; 0 after a drain, 1 where it cannot serve."""

import asyncio
import logging
import sys
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from ..contract.admin import audience
from ..contract.reports import Outcome
from ..contract.settings import ShardSettings
from ..cpu import cpu_quota
from ..failure import StartFailed
from ..http.admin_tokens import TokenCheck
from ..role import listener, run_role, stop_event
from ..wire.server import FrameServer
from .admin import build_admin
from .lifecycle import Lifecycle, Phase
from .service import ShardService
from .startup import Opened, open_shard, take_volume
from .store.records import StoreCorrupt
from .store.writer import Commit

log = logging.getLogger(__name__)

SWITCH_SECONDS = 0.0002
"""How long a thread may keep the interpreter from the event loop; Python's default costs a search tens of milliseconds."""


def main() -> int:
    return run_role(ShardSettings, serve)


async def serve(settings: ShardSettings) -> int:
    """Runs until SIGTERM or SIGINT. Raises StartFailed where the shard cannot be served."""
    sys.setswitchinterval(SWITCH_SECONDS)
    stop = stop_event()
    lifecycle = Lifecycle(settings)
    admin = listener(
        build_admin(lifecycle, _token_check(settings)), settings.admin_port, settings.shutdown_seconds, settings.host
    )
    admin.start()
    log.info("listening", extra={"admin_port": admin.port})
    try:
        await _run(settings, lifecycle, stop)
    finally:
        await admin.stop()
    log.info("stopped")
    return 0


async def _run(settings: ShardSettings, lifecycle: Lifecycle, stop: asyncio.Event) -> None:
    opener = ThreadPoolExecutor(1, thread_name_prefix="open")
    try:
        lock = await _unless_stopped(opener, stop, take_volume, settings)
        if lock is None:
            return
        await _open_and_serve(settings, lifecycle, opener, stop)
    finally:
        opener.shutdown(wait=False)


async def _open_and_serve(
    settings: ShardSettings, lifecycle: Lifecycle, opener: ThreadPoolExecutor, stop: asyncio.Event
) -> None:
    threads = settings.search_threads or cpu_quota()
    measured = _Measured(lifecycle)
    try:
        opened = await _unless_stopped(opener, stop, open_shard, settings, threads, measured)
    except StoreCorrupt as error:
        lifecycle.phase, lifecycle.message = Phase.CORRUPT, str(error)
        log.error("cannot serve: %s", error)
        await stop.wait()
        return
    if opened is None:
        return
    await _serve_opened(settings, lifecycle, opened, threads, measured, stop)


async def _serve_opened(
    settings: ShardSettings,
    lifecycle: Lifecycle,
    opened: Opened,
    threads: int,
    measured: "_Measured",
    stop: asyncio.Event,
) -> None:
    service = ShardService(settings, opened.store, opened.index, opened.index_feed, threads)
    measured.service = service
    frames = _frame_server(settings, lifecycle, service)
    service.start()
    await frames.start()
    lifecycle.service, lifecycle.phase = service, Phase.SERVING
    lifecycle.metrics.watch(lifecycle.info)
    lifecycle.metrics.watch_connections(lambda: frames.connections, lambda: frames.calls)
    log.info("serving", extra={"frame_port": frames.port, "position": service.store.state.position})
    try:
        await stop.wait()
        lifecycle.phase = Phase.DRAINING
        log.info("draining for %.1f s", settings.drain_seconds)
        await asyncio.sleep(settings.drain_seconds)
    finally:
        await frames.stop(settings.shutdown_seconds)
        await service.close()


async def _unless_stopped(opener: ThreadPoolExecutor, stop: asyncio.Event, work: Any, *arguments: Any) -> Any:
    """Runs `work` beside the event loop, so that probes are answered. None where the stop came first."""
    working = asyncio.get_running_loop().run_in_executor(opener, work, *arguments)
    stopping = asyncio.create_task(stop.wait())
    waits: set[asyncio.Future[Any]] = {working, stopping}
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    if not working.done():
        log.info("told to stop before the shard was loaded")
        return None
    stopping.cancel()
    return working.result()


class _Measured:
    """Told of each commit by the writer thread, when others can see it."""

    def __init__(self, lifecycle: Lifecycle) -> None:
        self.service: ShardService | None = None
        self._metrics = lifecycle.metrics

    def __call__(self, commit: Commit) -> None:
        self._metrics.commit(commit)
        if self.service is not None:
            self.service.committed_more()


def _frame_server(settings: ShardSettings, lifecycle: Lifecycle, service: ShardService) -> FrameServer:
    try:
        return FrameServer(service.handlers(), settings.frame_port, host=settings.host, observe=lifecycle.metrics.call)
    except OSError as error:
        raise StartFailed(Outcome.UNAVAILABLE, f"port {settings.frame_port}: {error.strerror}") from error


def _token_check(settings: ShardSettings) -> TokenCheck:
    try:
        return TokenCheck(settings.admin_public_keys, audience(settings.namespace, settings.pod))
    except ValueError as error:
        raise StartFailed(Outcome.UNAVAILABLE, str(error)) from None
