"""`python -m embedding_serving embed`: settings from the environment; 0 after a drain, 1 where it cannot serve."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from .. import __version__
from ..contract.reports import Outcome
from ..contract.settings import EmbedSettings
from ..failure import StartFailed
from ..http.ratelimit import RateLimiter
from ..redis_store import RedisStore
from ..role import listener, run_role, stop_event
from .cache import VectorCache
from .encoder import Encoder
from .http.gate import Gate
from .http.routes import HOT_ROUTES
from .http.surface import build_surface
from .lifecycle import Lifecycle
from .service import EmbeddingService
from .startup import LoadedModel, load_model

log = logging.getLogger(__name__)


def main() -> int:
    return run_role(EmbedSettings, serve)


async def serve(settings: EmbedSettings) -> int:
    """Runs until SIGTERM or SIGINT. Raises StartFailed where the model cannot be served."""
    stop = stop_event()
    lifecycle = Lifecycle()
    surface = build_surface(lifecycle, __version__)
    gate = Gate(lifecycle, settings, HOT_ROUTES, surface)
    api = listener(gate, settings.port, settings.shutdown_seconds, settings.host)
    admin = listener(surface, settings.admin_port, settings.shutdown_seconds, settings.host)
    for port in (api, admin):
        port.start()
    log.info("listening", extra={"port": api.port, "admin_port": admin.port})
    store = _shared_store(settings, lifecycle)
    try:
        if await _start(settings, lifecycle, store, stop):
            await stop.wait()
            await _drain(settings, lifecycle)
    finally:
        await api.stop()
        await admin.stop()
        if lifecycle.service:
            await lifecycle.service.close()
        if store:
            await store.close()
    log.info("stopped")
    return 0


async def _start(settings: EmbedSettings, lifecycle: Lifecycle, store: RedisStore | None, stop: asyncio.Event) -> bool:
    """Loads beside the event loop, so that probes are answered. False where the stop came first."""
    loader = ThreadPoolExecutor(1, thread_name_prefix="load")
    loading = asyncio.get_running_loop().run_in_executor(loader, load_model, settings, __version__)
    stopping = asyncio.create_task(stop.wait())
    waits: set[asyncio.Future[Any]] = {loading, stopping}
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    loader.shutdown(wait=False)
    if not loading.done():
        log.info("told to stop before the model was loaded")
        return False
    stopping.cancel()
    loaded = loading.result()
    if loaded.engine.gpu is not None:
        lifecycle.metrics.watch_gpus(loaded.engine.gpu)
    lifecycle.serve(_service(settings, loaded, lifecycle, store), loaded.info)
    log.info("serving", extra=loaded.info.model_dump(mode="json"))
    return True


async def _drain(settings: EmbedSettings, lifecycle: Lifecycle) -> None:
    """Not ready from now on, yet still accepting: the endpoints of a Service forget a pod only after a while."""
    lifecycle.drain()
    log.info("draining for %.1f s", settings.drain_seconds)
    await asyncio.sleep(settings.drain_seconds)


def _service(settings: EmbedSettings, loaded: LoadedModel, lifecycle: Lifecycle, store: RedisStore | None) -> EmbeddingService:
    metrics = lifecycle.metrics
    model = loaded.model
    return EmbeddingService(
        model=model,
        tokenizer=loaded.tokenizer,
        encoder=Encoder(loaded.engine, loaded.limits, settings.max_queued_tokens, metrics),
        cache=VectorCache(
            namespace=f"{model.fingerprint}:{loaded.engine.arithmetic}",
            dimensions=model.dimensions,
            ttl_seconds=settings.cache_ttl_seconds,
            max_bytes=settings.cache_bytes,
            shared=store,
            metrics=metrics,
        ),
        limiter=RateLimiter(
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            namespace=settings.model_name,
            shared=store,
        ),
        metrics=metrics,
    )


def _shared_store(settings: EmbedSettings, lifecycle: Lifecycle) -> RedisStore | None:
    if settings.redis_url is None:
        return None
    try:
        return RedisStore(settings.redis_url.get_secret_value(), lifecycle.metrics.shared_cache)
    except ValueError as error:
        raise StartFailed(Outcome.UNAVAILABLE, str(error)) from None
