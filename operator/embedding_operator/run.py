"""The process: watches all the time, acts while it leads, ends when it must not lead any more."""

import asyncio
import contextlib
import logging
import random
from collections.abc import Awaitable, Callable, Coroutine
from functools import partial
from typing import Any

import kopf
import prometheus_client

from . import triggers
from .admin_key import load_or_create
from .apiserver import ApiServer, connect
from .build import names
from .build.installation import Installation
from .dataplane import HTTPDataPlane
from .kinds import KINDS
from .kube import KubeError, NotFound
from .lanes import Key
from .leader import LeaseLock, lead
from .loop import Reconciler
from .plan.world import SWITCHING
from .queue import WorkQueue
from .resources import CONFIG_MAP, VECTOR_INDEX
from .settings import OperatorSettings
from .slots import RebuildSlots

logger = logging.getLogger(__name__)

LEAVE_SECONDS = 8.0
"""How long the end waits for a switch under way; a pod has 30 s."""


class NotInstalled(Exception):
    """The API server does not know our kinds."""


async def run(settings: OperatorSettings) -> int:
    """Until SIGTERM (answers 0) or until the Lease is lost (answers 1: a fresh process competes again)."""
    settings = settings.identified()
    kube = await connect(settings.request_seconds, settings.concurrency)
    lease_kube = await connect(settings.request_seconds)
    data_plane: HTTPDataPlane | None = None
    try:
        await _installed(kube, settings)
        key = await load_or_create(lease_kube, settings.namespace, settings.admin_key_name)
        data_plane = HTTPDataPlane(key.token)
        lock = LeaseLock(lease_kube, settings)
        kube.may_write = lock.held
        slots = RebuildSlots(settings.max_concurrent_rebuilds)
        reconciler = Reconciler(kube, data_plane, _installation(settings, key.public), settings.pod_name, slots)
        queue = WorkQueue(reconciler.reconcile, settings.concurrency)
        prometheus_client.start_http_server(settings.metrics_port)
        stopping = asyncio.Event()
        return await _until_first_ends(
            watching=_watch(queue, settings, stopping),
            leading=lead(lock, settings, lambda: _act(queue, kube, settings)),
            stopping=stopping,
            before_it_ends=partial(slots.leave, LEAVE_SECONDS),
        )
    finally:
        for client in (kube, lease_kube, data_plane):
            if client:
                await client.close()


async def _until_first_ends(
    watching: Coroutine[Any, Any, None],
    leading: Coroutine[Any, Any, None],
    stopping: asyncio.Event,
    before_it_ends: Callable[[], Awaitable[None]],
) -> int:
    """Runs both. `stopping` is set by what watches when it begins to stop: what leads ends first, then.

    kopf, while it stops, waits some seconds for every task of the loop that began after it, and cancels the rest: work and
    election would go on for that long, and then be torn off before the Lease is given back.
    """
    watch, leadership, asked = (asyncio.ensure_future(work) for work in (watching, leading, stopping.wait()))
    await asyncio.wait({watch, leadership, asked}, return_when=asyncio.FIRST_COMPLETED)
    lost = leadership.done()
    if not lost and not watch.done():
        await before_it_ends()
    for task in (leadership, asked):
        task.cancel()
    await asyncio.gather(leadership, asked, return_exceptions=True)
    if not stopping.is_set():
        watch.cancel()
    await asyncio.gather(watch, return_exceptions=True)
    for done in (watch, leadership):
        if not done.cancelled():
            done.result()
    logger.info("stopped: %s", "the lease was lost" if lost else "asked to")
    return int(lost)


async def _watch(queue: WorkQueue, settings: OperatorSettings, stopping: asyncio.Event) -> None:
    await kopf.operator(
        registry=triggers.registry(queue, stopping.set),
        settings=triggers.settings(),
        standalone=True,
        identity=_kopf_identity(settings.pod_name),
        clusterwide=not settings.watch_namespaces,
        namespaces=settings.watch_namespaces,
        liveness_endpoint=f"http://0.0.0.0:{settings.health_port}/healthz",
    )


def _kopf_identity(name: str) -> Any:
    """Given, so that kopf does not look up the name of a user that has none in the image."""
    return name


async def _act(queue: WorkQueue, kube: ApiServer, settings: OperatorSettings) -> None:
    try:
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(queue.run())
            tasks.create_task(_switches_first(queue, kube, settings))
            tasks.create_task(_resync(queue, kube, settings))
    finally:
        await kube.quiet()


async def _switches_first(queue: WorkQueue, kube: ApiServer, settings: OperatorSettings) -> None:
    """Indexes in the middle of a switch are looked at before all others: writes wait for them."""
    phases = ",".join(sorted(phase.value for phase in SWITCHING))
    for namespace in settings.watch_namespaces or (None,):
        with contextlib.suppress(KubeError):
            for live in await kube.list(CONFIG_MAP, namespace, f"{names.MANAGED_SELECTOR},{names.PHASE} in ({phases})"):
                meta = live["metadata"]
                queue.add(Key(VECTOR_INDEX.kind, meta["namespace"], meta["labels"][names.INSTANCE]))


async def _resync(queue: WorkQueue, kube: ApiServer, settings: OperatorSettings) -> None:
    """Looks at every object now and then: a missed event delays what it would have told, and no more.

    Not at once: the watches begin with a list of everything.
    """
    while True:
        await asyncio.sleep(settings.resync_seconds)
        for namespace in settings.watch_namespaces or (None,):
            with contextlib.suppress(KubeError):
                for kind in KINDS.values():
                    for live in await kube.list(kind.resource, namespace):
                        meta = live["metadata"]
                        spread = random.uniform(0, settings.resync_seconds / 10)  # noqa: S311 - spreads load
                        queue.add(Key(kind.resource.kind, meta["namespace"], meta["name"]), spread)


async def _installed(kube: ApiServer, settings: OperatorSettings) -> None:
    namespace = settings.watch_namespaces[0] if settings.watch_namespaces else None
    try:
        for kind in KINDS.values():
            await kube.list(kind.resource, namespace)
    except NotFound as error:
        raise NotInstalled("the CRDs are not installed: kubectl apply --server-side -f crds/") from error


def _installation(settings: OperatorSettings, admin_public_key: str) -> Installation:
    return Installation(
        serving_image=settings.serving_image,
        serving_torch_image=settings.serving_torch_image,
        image_pull_policy=settings.image_pull_policy,
        hub_endpoint=settings.hub_endpoint,
        http_allowed_hosts=settings.http_allowed_hosts,
        operator_namespace=settings.namespace,
        admin_public_keys=(admin_public_key,),
    )
