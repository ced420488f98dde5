"""The feed as others read it: leases and pages, with a wait for what is to come."""

import asyncio
import contextlib
from concurrent.futures import Executor
from functools import partial
from typing import TypeVar

from ..wire.calls import Call, Reply
from . import heads
from .feed import encode_embedded, encode_page
from .heads import checked
from .store.protocol import check_vectors
from .store.records import Lease, Page
from .store.store import Store
from .watermark import Watermark

T = TypeVar("T")


class FeedServer:
    """committed: this shard's position. acknowledged: that of its most advanced follower, which pulls move."""

    def __init__(self, store: Store, committed: Watermark, acknowledged: Watermark, executor: Executor) -> None:
        self._store = store
        self._committed = committed
        self._acknowledged = acknowledged
        self._executor = executor

    async def lease(self, call: Call) -> Reply:
        head = checked(heads.LeaseHead, call)
        lease = Lease(head.consumer, head.nonce, head.position)
        position = await self._store.lease(lease, release=head.release)
        self._acknowledged.moved()
        return Reply({"position": position})

    async def pull(self, call: Call) -> Reply:
        asked = checked(heads.Pull, call)
        page = await self._page(asked)
        if page.upto == page.cursor and asked.wait_ms:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(asked.wait_ms / 1000):
                    await self._committed.reach(page.cursor + 1)
            page = await self._page(asked)
        head, tail = await self._run(partial(encode_page, page))
        protocol = self._store.state.protocol
        return Reply(head | {"epoch": protocol.epoch, "mode": protocol.mode, "more": page.upto < page.position}, tail)

    async def embedded(self, call: Call) -> Reply:
        """Vectors of documents that are embedded here, whoever takes the writes: a vector is true of its text for ever."""
        asked = checked(heads.Embedded, call)
        check_vectors(self._store.state, asked.f)
        found = await self._run(partial(self._store.reader.embedded, asked.ids))
        return Reply(*await self._run(partial(encode_embedded, found)))

    async def _page(self, head: heads.Pull) -> Page:
        pull = partial(
            self._store.pull,
            Lease(head.consumer, head.nonce, head.cursor),
            head.history,
            lower=int(head.lower),
            upper=int(head.upper),
            with_vectors=head.with_vectors,
            limit=head.limit,
            start=head.start,
        )
        page = await self._run(pull)
        self._acknowledged.moved()
        return page

    async def _run(self, work: "partial[T]") -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work)
