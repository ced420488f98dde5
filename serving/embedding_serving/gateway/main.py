"""`python -m embedding_serving gateway`: settings from the environment; 0 after a drain, 1 where it cannot serve."""

import asyncio
import contextlib
import itertools
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp

from .. import __version__
from ..contract.admin import audience
from ..contract.index import IndexName
from ..contract.reports import Outcome
from ..contract.settings import GatewaySettings
from ..failure import StartFailed
from ..http.admin_tokens import TokenCheck
from ..http.ratelimit import RateLimiter
from ..outgoing.encoder import Encoders
from ..redis_store import RedisStore
from ..role import listener, run_role, stop_event
from .cache import ResultCache
from .endpoints import Endpoints
from .fanout import LOST_COPY_SECONDS, Fanout
from .gate import Gate
from .keys import ApiKeys
from .metrics import Metrics
from .pods import Fleet
from .reads import Reads
from .reranker import Reranker
from .routes import Routes
from .search import Searcher
from .search_request import Limits
from .service import Service
from .surface import GUARDED, build_admin, build_surface
from .writes import Writes

log = logging.getLogger(__name__)


def main() -> int:
    return run_role(GatewaySettings, serve)


async def serve(settings: GatewaySettings) -> int:
    """Runs until SIGTERM or SIGINT. Raises StartFailed."""
    stop = stop_event()
    async with running(settings) as gateway:
        for port in (gateway.api, gateway.admin):
            port.start()
        log.info("listening", extra={"port": gateway.api.port, "admin_port": gateway.admin.port})
        await stop.wait()
        gateway.draining = True
        log.info("draining for %.1f s", settings.drain_seconds)
        await asyncio.sleep(settings.drain_seconds)
        await gateway.api.stop()
        await gateway.admin.stop()
    log.info("stopped")
    return 0


class Gateway:
    """A gateway that is put together; its ports are bound, not yet accepting. draining: told to stop."""

    def __init__(
        self, settings: GatewaySettings, service: Service, keys: ApiKeys, limiter: RateLimiter, routes: list[Routes]
    ) -> None:
        self.service = service
        self.draining = False
        surface = build_surface(service, self.is_draining)
        gate = Gate(
            routes=Endpoints(service).routes(),
            surface=surface,
            guarded=GUARDED,
            keys=keys,
            limiter=limiter,
            metrics=service.metrics,
            max_body_bytes=settings.max_body_bytes,
            draining=self.is_draining,
        )
        admin = build_admin(service, self.is_draining, _token_check(settings), routes)
        self.api = listener(gate, settings.port, settings.shutdown_seconds, settings.host)
        self.admin = listener(admin, settings.admin_port, settings.shutdown_seconds, settings.host)

    def is_draining(self) -> bool:
        return self.draining


class _Index:
    """One index that is searched here: its route, and the pods that the route names."""

    def __init__(self, settings: GatewaySettings, name: str, route_dir: str, metrics: Metrics) -> None:
        self.fleet = Fleet(settings.pod, IndexName(settings.namespace, name))
        self.routes = Routes(name, settings.namespace, Path(route_dir), self._told)
        self._metrics = metrics

    def _told(self) -> None:
        route = self.routes.current
        if route is not None:
            self.fleet.keep(route.generations)
            self._metrics.route(route.index, generation=route.writer, epoch=route.epoch, seq=route.seq)


@contextlib.asynccontextmanager
async def running(settings: GatewaySettings) -> AsyncIterator[Gateway]:
    """Everything behind the ports: routes and keys are followed, pods connected. Raises StartFailed."""
    metrics = Metrics()
    store = _shared_store(settings, metrics)
    indexes = [_Index(settings, settings.index, settings.route_dir, metrics)]
    if settings.fallback_index is not None:
        indexes.append(_Index(settings, settings.fallback_index, settings.fallback_route_dir, metrics))
    metrics.before_scrape(lambda: metrics.breakers(itertools.chain.from_iterable(index.fleet.breakers() for index in indexes)))
    keys = ApiKeys(Path(settings.keys_dir) if settings.keys_dir else None)
    connector = aiohttp.TCPConnector(limit=0, use_dns_cache=False, keepalive_timeout=60)
    async with aiohttp.ClientSession(connector=connector, auto_decompress=False, trust_env=False) as session:
        service = _service(settings, indexes, session, metrics, keys, store)
        limiter = RateLimiter(
            requests_per_minute=settings.requests_per_minute,
            requests_at_once=settings.burst,
            namespace=f"{settings.namespace}/{settings.service}",
            shared=store,
            shared_only=settings.deny_without_redis and store is not None,
        )
        gateway = Gateway(settings, service, keys, limiter, [index.routes for index in indexes])
        for index in indexes:
            await index.routes.read_file()
        await keys.read()
        watches = [asyncio.create_task(index.routes.watch()) for index in indexes]
        watches.append(asyncio.create_task(keys.watch()))
        try:
            yield gateway
        finally:
            for watch in watches:
                watch.cancel()
            for index in indexes:
                index.fleet.close()
            await service.cache.close()
            if store is not None:
                await store.close()


def _service(
    settings: GatewaySettings,
    indexes: list[_Index],
    session: aiohttp.ClientSession,
    metrics: Metrics,
    keys: ApiKeys,
    store: RedisStore | None,
) -> Service:
    encoders = Encoders(session, metrics.encoder_call)
    reranker = Reranker(settings.reranker, settings.rerank_timeout_seconds, session) if settings.reranker else None
    patience = 0.0 if len(indexes) > 1 else LOST_COPY_SECONDS  # a fallback answers at once
    searchers = [
        Searcher(index.routes, index.fleet, Fanout(metrics, index.routes.left, patience), encoders, reranker)
        for index in indexes
    ]
    routes, fleet = indexes[0].routes, indexes[0].fleet
    return Service(
        settings=settings,
        limits=Limits.of(settings),
        routes=routes,
        fleet=fleet,
        fleets=[index.fleet for index in indexes],
        searcher=searchers[0],
        fallback=searchers[1] if len(searchers) > 1 else None,
        writes=Writes(routes, fleet, encoders, metrics),
        reads=Reads(routes, fleet, Fanout(metrics, routes.left)),
        cache=ResultCache(
            namespace=f"{settings.namespace}/{settings.service}/{settings.index}",
            ttl_seconds=settings.cache_ttl_seconds,
            max_bytes=settings.cache_bytes,
            shared=store,
            metrics=metrics,
        ),
        metrics=metrics,
        keys=keys,
        shared=store,
        version=__version__,
    )


def _token_check(settings: GatewaySettings) -> TokenCheck:
    try:
        return TokenCheck(settings.admin_public_keys, audience(settings.namespace, settings.pod))
    except ValueError as error:
        raise StartFailed(Outcome.UNAVAILABLE, str(error)) from None


def _shared_store(settings: GatewaySettings, metrics: Metrics) -> RedisStore | None:
    if settings.redis_url is None:
        return None
    try:
        return RedisStore(settings.redis_url.get_secret_value(), metrics.shared_cache)
    except ValueError as error:
        raise StartFailed(Outcome.UNAVAILABLE, str(error)) from None
