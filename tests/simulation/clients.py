"""Clients, and a ledger that knows only what was acknowledged to them.

Each document has one client, which begins a change after the one before is acknowledged, and repeats it under its request
id until then. So whoever reads may find what was acknowledged when he began to read, or what was begun since; nothing else.
"""

import asyncio
import contextlib
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from embedding_serving.gateway.document_request import Change, Op
from embedding_serving.gateway.failures import ShardRefused
from embedding_serving.gateway.members import NO_SPACE, Include
from embedding_serving.gateway.position import Positions
from embedding_serving.gateway.reads import ReadRequest
from embedding_serving.gateway.search import SearchContext
from embedding_serving.gateway.search_request import Search
from embedding_serving.gateway.writes import WriteRequest
from embedding_serving.outgoing.deadline import Deadline
from embedding_serving.outgoing.failures import Unavailable

from .clock import wall_seconds
from .network import HERE, Node
from .space import is_of

if TYPE_CHECKING:
    from .world import World

WITH_VECTOR = Include(vector=True)


@dataclass
class Deed:
    """One change. text None: deleted. expires: some time after, by whatever clocks say, it is gone."""

    text: str | None
    begun: float
    acknowledged: float | None = None
    expires: bool = False

    @property
    def leaves(self) -> set[str | None]:
        return {self.text, None} if self.expires else {self.text}


@dataclass
class Account:
    """One document."""

    id: str
    deeds: list[Deed] = field(default_factory=lambda: [Deed(None, 0.0, 0.0)])
    version: str | None = None
    position: Positions | None = None

    def possible(self, began: float, ended: float) -> set[str | None]:
        """What a strong read may have found."""
        first = max(i for i, deed in enumerate(self.deeds) if deed.acknowledged is not None and deed.acknowledged <= began)
        return {text for deed in self.deeds[first:] if deed.begun <= ended for text in deed.leaves}

    @property
    def now(self) -> str | None:
        return self.deeds[-1].text


class ClientProcess(Node):
    """Writes its documents, and reads them."""

    def __init__(self, world: "World", name: str, documents: int) -> None:
        super().__init__(name)
        self._world = world
        self.accounts = [Account(f"{name}-{number}") for number in range(documents)]
        self._count = 0
        self.done = False
        self.spawn(self._write())
        self.spawn(self._read())

    @property
    def resting(self) -> bool:
        return self.done and all(account.deeds[-1].acknowledged is not None for account in self.accounts)

    async def _write(self) -> None:
        dice, world = self._world.dice, self._world
        while not world.closing:
            account = dice.choice(self.accounts)
            await self._change(account)
            if dice.random() < 0.3:
                await self.read(account, "strong")
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(dice.uniform(0.0, world.pause_seconds)):
                    await world.rush.wait()
                    await asyncio.sleep(dice.uniform(0.0, 0.1))
        self.done = True

    async def _change(self, account: Account) -> None:
        world, dice = self._world, self._world.dice
        loop = asyncio.get_running_loop()
        self._count += 1
        request_id = f"{self.name}:{self._count}"
        deletes = account.now is not None and not account.deeds[-1].expires and dice.random() < 0.25
        conditional = account.version is not None and dice.random() < 0.5
        text = None if deletes else f"{request_id} {dice.randrange(1000)}"
        lives = None if deletes else world.lifetime()
        change = Change(
            Op.DELETE if deletes else Op.PUT,
            account.id,
            text=text,
            metadata=None if deletes else "{}",
            if_version=account.version if conditional else None,
            expires_at=None if lives is None else int((wall_seconds() + lives) * 1_000),
            lives=lives,
        )
        deed = Deed(text, loop.time(), expires=lives is not None)
        account.deeds.append(deed)
        issued = int(wall_seconds() * 1_000)
        told = f"deletes {account.id}" if deletes else f"puts {account.id} {f'for {lives} s' if lives else ''}"
        world.trace(f"{request_id} {told} {account.version if conditional else ''}")
        while True:
            gateway = world.gateway()
            request = WriteRequest(request_id, issued, request_id, Deadline.after(dice.choice((0.3, 1.0, 3.0))), keyed=True)
            try:
                written = await world.at(gateway, partial(gateway.writes.apply, [change], request))
                result = written.results[0]
            except (Unavailable, ShardRefused, asyncio.CancelledError) as error:
                if isinstance(error, asyncio.CancelledError) and HERE.get().alive and gateway.alive:
                    raise
                result = {"error": {"code": type(error).__name__, "detail": str(error)}}
            if "error" not in result:
                break
            code = result["error"]["code"]
            if code in ("version_conflict", "idempotency_key_reused", "request_expired", "not_found"):
                world.broken(f"{request_id} of {account.id} was refused: {result['error']}")
            world.trace(f"{request_id} is not acknowledged: {result['error']}")
            await asyncio.sleep(dice.uniform(0.01, 0.3))
        deed.acknowledged = loop.time()
        account.version = result["version"] if not deletes and lives is None else None
        account.position = written.position
        world.trace(f"{request_id} is acknowledged by generation {written.generation}: {result}")

    async def _read(self) -> None:
        dice, world = self._world.dice, self._world
        while not world.closing:
            await asyncio.sleep(dice.uniform(0.02, 2 * world.pause_seconds))
            account = dice.choice(self.accounts)
            kind = dice.choice(("strong", "strong", "own", "eventual", "search"))
            if kind == "search":
                await self._search(account)
            else:
                await self.read(account, kind)

    async def read(self, account: Account, kind: str, *, must: bool = False) -> bool:
        """Whether it was answered. `own`: with the position of the last write."""
        world = self._world
        gateway, loop = world.gateway(), asyncio.get_running_loop()
        began = loop.time()
        tokens = [account.position] if kind == "own" and account.position else []
        request = ReadRequest(Deadline.after(1.0), tokens, kind == "strong")
        try:
            stored = await world.at(gateway, partial(gateway.reads.get, account.id, WITH_VECTOR, request))
        except (Unavailable, ShardRefused, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and gateway.alive:
                raise
            world.unanswered(kind, error)
            return False
        text = None if stored is None else stored.raw[3]
        if kind != "eventual":
            possible = account.possible(began, loop.time())
            if text not in possible:
                world.broken(f"a {kind} read of {account.id} found {text!r} in place of {possible}")
        elif text not in {deed.text for deed in account.deeds}:
            world.broken(f"a read of {account.id} found {text!r}, which was never written")
        if stored is not None and not any(is_of(stored.vector, f"fp-{n}", text or "") for n in range(1, 10)):
            world.broken(f"{account.id} has the vector {stored.vector} which is not of its text {text!r}")
        return True

    async def _search(self, account: Account) -> None:
        """By a text that was written; what is found is compared in the index, vector space by vector space."""
        world = self._world
        text = account.now
        if text is None or account.deeds[-1].expires:
            return
        gateway = world.gateway()
        strong = world.dice.random() < 0.5
        search = Search("", text, None, NO_SPACE, None, 1, None, Include(vector=True), None, False, strong)
        acknowledged, number = account.deeds[-1].acknowledged, len(account.deeds)
        try:
            found = await world.at(gateway, partial(gateway.searcher.find, [search], SearchContext(Deadline.after(1.0), "s")))
        except (Unavailable, ShardRefused, asyncio.CancelledError) as error:
            if isinstance(error, asyncio.CancelledError) and gateway.alive:
                raise
            world.unanswered("search", error)
            return
        if strong and acknowledged is not None and len(account.deeds) == number:
            hits = found.results[0].hits
            if not hits or hits[0]["id"] != account.id or hits[0]["text"] != text:
                world.broken(f"a strong search for the text of {account.id} found {hits}")
