"""Faults put into the shipped code, one at a time: what the simulation is worth is how many of them it finds.

Each breaks one sentence of the protocol. A change replaces a piece of a function's text; where that piece is gone, the
mutant says so and is to be written anew. `seed` is a life that ends badly with it and well without; None: none was found yet.

Not here, because another rule hides them: versions that are not compared while roles are exclusive and pages in order; a shard
that does not look at the fingerprint, since generations have addresses of their own. Not here, because the simulation does not
have what they need: expiry, a volume that comes back from a backup as another one, phases elsewhere than in the route.
"""

import importlib
import inspect
import textwrap
from dataclasses import dataclass
from types import FunctionType
from typing import Any

SHARD = "embedding_serving.shard"
STORE = f"{SHARD}.store"
GATEWAY = "embedding_serving.gateway"
PLAN = "embedding_operator.plan"


@dataclass(frozen=True)
class Change:
    """at: `module:function` or `module:Class.method`."""

    at: str
    old: str
    new: str


@dataclass(frozen=True)
class Mutant:
    name: str
    breaks: str
    seed: int | None
    changes: tuple[Change, ...]


def apply(mutant: Mutant) -> None:
    """In this process, for good. In place, so that whoever holds a function has the new one."""
    for at in dict.fromkeys(change.at for change in mutant.changes):
        function, namespace = _found(at)
        lines = textwrap.dedent(inspect.getsource(function)).splitlines(keepends=True)
        while lines[0].startswith("@"):
            del lines[0]
        text = "".join(lines)
        for change in mutant.changes:
            if change.at == at:
                assert change.old in text, f"mutant {mutant.name!r}: {at} has no {change.old!r} any more"
                text = text.replace(change.old, change.new)
        made: dict[str, Any] = {}
        exec(compile(text, f"<{mutant.name}>", "exec"), namespace, made)  # noqa: S102
        (other,) = made.values()
        function.__code__ = other.__code__


def _found(at: str) -> tuple[FunctionType, dict[str, Any]]:
    module_name, _, path = at.partition(":")
    module = importlib.import_module(module_name)
    found: Any = module
    for name in path.split("."):
        found = inspect.getattr_static(found, name)
    found = getattr(found, "fget", None) or getattr(found, "__func__", found)
    found = inspect.unwrap(found)
    assert isinstance(found, FunctionType), at
    return found, vars(module)


NO_DIGESTS = (
    Change(f"{PLAN}.following:digests_agree", "return _sum(writers) == _sum(readers)", "return True"),
    Change(f"{STORE}.protocol:_prepare", "if message.digest is not None and", "if False and"),
)
"""The digest is a belt: it would hide what else is missing."""

OPEN_RACE = Change(f"{STORE}.protocol:_activate", "if known.prepared != message.epoch:", "if False:")

MUTANTS = (
    # --- lost or resurrected operations ---
    Mutant(
        "commit without drain",
        "prepare needs cursors ≥ F under those histories",
        4,
        (
            *NO_DIGESTS,
            Change(f"{PLAN}.following:prepare", "if not reached(reader, fences, of):", "if False:"),
            Change(f"{STORE}.protocol:_prepare", "if reached < wanted.position:", "if False:"),
        ),
    ),
    Mutant(
        "F is taken outside the writer's queue",
        "F = last position, taken through the single writer, so that no write is sequenced behind the check",
        None,
        (
            *NO_DIGESTS,
            Change(
                f"{STORE}.store:Store.command",
                "def obey(transaction: Transaction) -> Answer:\n",
                "seen = self.state\n\n"
                "    def obey(transaction: Transaction) -> Answer:\n"
                "        counters = transaction.state.counters\n"
                "        if type(message).__name__ == 'Fence':\n"
                "            transaction.state = transaction.state.with_counters(seen.counters)\n"
                "            transaction.state, answer = protocol.command(transaction.state, message)\n"
                "            transaction.state = transaction.state.with_counters(counters)\n"
                "            return answer\n",
            ),
        ),
    ),
    Mutant(
        "the fence is checked before the commit queue",
        "write: check and sequencing in one transaction",
        21,
        (
            *NO_DIGESTS,
            Change(
                f"{STORE}.transaction:Transaction.write",
                "protocol.check_write(self.state, batch.generation, batch.fingerprint)",
                "pass",
            ),
            Change(
                f"{STORE}.store:Store.write",
                "return await",
                "protocol.check_write(self.state, batch.generation, batch.fingerprint)\n    return await",
            ),
        ),
    ),
    Mutant(
        "the new generation is activated before the commit",
        "Committed: CAS W := T, then activate",
        1,
        (
            Change(
                f"{PLAN}.route:_draining",
                "    unsealed = [",
                "    from embedding_serving.contract.admin import Activate as early\n"
                "    commands += [(one.copy, message(early, w, one.copy)) for one in w.readers if one.copy]\n"
                "    unsealed = [",
            ),
        ),
    ),
    Mutant(
        "the new generation is not frozen by prepare",
        "prepare freezes T: no pull, no drop",
        None,
        (
            Change(f"{SHARD}.follower:Follower._is_free", "return self._store.state.protocol.prepared is None", "return True"),
            Change(f"{STORE}.transaction:Transaction.apply_page", "if self.state.protocol.prepared is not None:", "if False:"),
            Change(f"{STORE}.protocol:restart", "if state.protocol.prepared is not None:", "if False:"),
        ),
    ),
    Mutant(
        "activation ignores what is prepared",
        "activate needs prepared = A",
        None,
        (
            OPEN_RACE,
            Change(
                f"{PLAN}.route:_committed",
                "if copy and copy.info.prepared == route.epoch and copy.info.history == w.writer.histories[one.shard.number]:",
                "if copy:",
            ),
            Change(f"{PLAN}.route:prepared_again", "for shard in w.writers:", "for shard in ():"),
        ),
    ),
    Mutant(
        "no request ids",
        "request_id → doc, version, result",
        6,
        (Change(f"{STORE}.transaction:Transaction._known", "return known", "return {}"),),
    ),
    Mutant(
        "only the last request id is kept",
        "request ids live in their own table",
        6,
        (
            Change(
                f"{STORE}.transaction:Transaction._insert_request",
                "    number = self._next_row",
                "    self._db.execute('DELETE FROM requests')\n    number = self._next_row",
            ),
        ),
    ),
    Mutant(
        "request ids do not travel",
        "request ids travel in the feed",
        None,
        (Change(f"{STORE}.transaction:Transaction.apply_page", "for request in page.requests:", "for request in ():"),),
    ),
    Mutant(
        "request ids are purged with tombstones",
        "request ids outlive tombstones for the longest life of a request",
        16,
        (Change(f"{STORE}.transaction:Transaction.purge", "oldest = self._now - self._retention", "oldest = self._now + 1"),),
    ),
    Mutant(
        "the version's epoch is the generation's number",
        "Version epoch rises with every activation",
        28,
        (
            Change(
                f"{STORE}.transaction:Transaction._change",
                "Version(self.state.protocol.opened_at,",
                "Version(self.state.identity.generation,",
            ),
            Change(
                f"{STORE}.transaction:Transaction._delete",
                "Version(self.state.protocol.opened_at,",
                "Version(self.state.identity.generation,",
            ),
        ),
    ),
    Mutant(
        "a delete leaves no tombstone",
        "Row: deleted",
        7,
        (
            *NO_DIGESTS,
            Change(
                f"{STORE}.transaction:Transaction._delete",
                'self._put(_Row(id_, version, True, None, None, NO_METADATA, b"", None, None), found)',
                "self._remove(id_, found); self._next_row += 1",
            ),
        ),
    ),
    Mutant(
        "purge passes the leases",
        "Purge never passes the lowest lease",
        2,
        (
            Change(
                f"{STORE}.transaction:Transaction.purge",
                "lowest = min((position for _, position in self.state.leases.values()), default=self._next_row - 1)",
                "lowest = self._next_row - 1",
            ),
        ),
    ),
    Mutant(
        "the reverse lease is opened late",
        "Reverse leases open in prepare, at G0",
        None,
        (
            Change(
                f"{STORE}.protocol:_prepare",
                "state = replace(state, leases=leases)",
                "pass",
            ),
            Change(
                f"{STORE}.store:Store.lease",
                "elif lease.position == 0:\n                kept[lease.consumer] = (lease.nonce, 0)",
                "elif True:\n                kept[lease.consumer] = (lease.nonce, lease.position)",
            ),
        ),
    ),
    Mutant(
        "the way back starts at the current position",
        "the old generation follows from G0",
        28,
        (
            *NO_DIGESTS,
            Change(
                f"{PLAN}.world:World.feeds",
                "self.route.targets",
                "tuple(one.model_copy(update={'position': next((s.writer.info.position for s in self.writers "
                "if s.number == one.shard and s.writer), one.position)}) for one in self.route.targets)",
            ),
        ),
    ),
    Mutant(
        "the cursor is durable before the rows",
        "commits row + vector + cursor in one transaction",
        None,
        (
            *NO_DIGESTS,
            Change(
                f"{STORE}.store:Store.apply_page",
                "await self._submitted(lambda transaction: transaction.apply_page(shard, nonce, page, of), "
                "max(1, len(page.rows)))",
                "from dataclasses import replace as other\n"
                "    source = next((one for one in self.state.sources if one.shard == shard), None)\n"
                "    await self._submitted(lambda t: t.apply_page(shard, nonce, other(page, rows=()), of))\n"
                "    await self._submitted(lambda t: [t._take(row, source) for row in page.rows] and None)",
            ),
        ),
    ),
    Mutant(
        "pages are applied in any order",
        "only in page order: durable (history, cursor) equals the page's start",
        None,
        (Change(f"{STORE}.transaction:Transaction.apply_page", "if source.cursor != page.cursor:", "if False:"),),
    ),
    Mutant(
        "a feed of another history is read on",
        "pull: another history → HISTORY",
        None,
        (
            *NO_DIGESTS,
            Change(f"{STORE}.store:Store.pull", "if history != known.history:", "if False:"),
            Change(f"{SHARD}.follower:Follower._acceptable", "if feed.hello.history == source.history:", "if True:"),
            Change(
                f"{STORE}.transaction:Transaction.apply_page",
                "source.nonce != nonce or source.history != page.history",
                "source.nonce != nonce",
            ),
        ),
    ),
    Mutant(
        "a feed is read again without dropping what it does not have any more",
        "RESETs: drop, lease to 0, start again",
        7,
        (
            *NO_DIGESTS,
            Change(f"{STORE}.protocol:restart", "resync_from=state.position", "resync_from=None"),
            Change(f"{STORE}.protocol:_source", "resync_from=state.position if outdated else None", "resync_from=None"),
        ),
    ),
    Mutant(
        "a consumer that was put back goes on from its old cursor",
        "A consumer behind its own lease (restored from a backup) RESETs",
        None,
        (
            *NO_DIGESTS,
            Change(f"{STORE}.store:Store.pull", "if not held[1] <= lease.position <= begin <= page.position:", "if False:"),
        ),
    ),
    Mutant(
        "a former writer drops rows on another history",
        "A shard that ever was a writer never drops rows",
        None,
        (
            Change(f"{STORE}.protocol:restart", "if state.protocol.was_writer:", "if False:"),
            Change(f"{STORE}.protocol:_source", "and not state.protocol.was_writer", ""),
        ),
    ),
    Mutant(
        "a seal without F, and a fence that was lifted goes up again",
        "seal only while Fenced at A with this F; LIFTED if lifted at A",
        None,
        (
            *NO_DIGESTS,
            Change(f"{STORE}.protocol:_fence", "if known.lifted == message.epoch:", "if False:"),
            Change(f"{STORE}.protocol:_seal", "if known.lifted == message.epoch:", "if False:"),
            Change(f"{STORE}.protocol:_seal", "or known.fenced.position != message.position", ""),
            Change(
                f"{PLAN}.route:_called_off",
                "if one.shard.writer and one.shard.writer.info.lifted == w.route.epoch:",
                "if False:",
            ),
        ),
    ),
    Mutant(
        "the former generation is never retired",
        "retire all old pods",
        None,
        (
            Change(f"{PLAN}.route:_committed", "retired = retirements(w)", "retired = []"),
            Change(f"{PLAN}.route:_observing", "*retirements(w), ", ""),
        ),
    ),
    Mutant(
        "the former generation is retired after the activation",
        "Retire before the first activation",
        None,
        (
            Change(
                f"{PLAN}.route:_committed",
                "retired = retirements(w)",
                "retired = [] if not w.rebuild.retired else retirements(w)",
            ),
        ),
    ),
    # --- mixed vector spaces ---
    Mutant(
        "the route is read again in the middle of a request",
        "Gateways pin one route per request",
        None,
        (
            Change(
                f"{GATEWAY}.writes:Writes.apply",
                "return await self._send(changes, vectors, refused, pin, request)",
                "return await self._send(changes, vectors, refused, self._routes.active(), request)",
            ),
        ),
    ),
    Mutant(
        "a held write is sent with its old vector",
        "on MOVED they pin anew, embed a held write or query again",
        4,
        (
            Change(
                f"{GATEWAY}.writes:Writes.apply",
                "return await self._send(changes, vectors, refused, pin, request)",
                "first.extend([vectors] if not first else [])\n"
                "        return await self._send(changes, first[0], refused, pin, request)",
            ),
            Change(
                f"{GATEWAY}.writes:Writes.apply",
                "async def attempt(pin: Pin) -> Written:",
                "first: list = []\n\n    async def attempt(pin: Pin) -> Written:",
            ),
        ),
    ),
    # --- two writers ---
    Mutant(
        "a fence that lets writes through",
        "write only while Open",
        4,
        (*NO_DIGESTS, Change(f"{STORE}.protocol:check_write", "case Mode.FENCED:", "case Mode.FENCED if False:")),
    ),
    Mutant(
        "a fence that a restart forgets",
        "Shard, durable in its SQLite: mode",
        None,
        (
            *NO_DIGESTS,
            Change(
                f"{STORE}.state:load",
                "protocol=Protocol.model_validate_json(stored[_PROTOCOL])",
                "protocol=Protocol.model_validate_json(stored[_PROTOCOL].replace('Fenced', 'Open'))",
            ),
        ),
    ),
    Mutant(
        "the route is written blindly",
        "Route: changed only by compare-and-set on resourceVersion",
        None,
        (Change("simulation.kube:Kube.put", "if version != self.version:", "if False:"),),
    ),
    Mutant(
        "what was gathered before is kept when the route is read again",
        "whatever an operator has gathered is void after it reads the route again",
        None,
        (
            Change(
                "simulation.operators:OperatorProcess.look",
                "    await self._api()\n    version, route = kube.version, kube.route\n",
                "    pods, infos, self.kept = *getattr(self, 'kept', (pods, infos)), (pods, infos)\n"
                "    await self._api()\n    version, route = kube.version, kube.route\n",
            ),
        ),
    ),
    Mutant(
        "unfence ignores the epoch",
        "A lower than E → STALE",
        None,
        (
            Change(
                f"{STORE}.protocol:check",
                "if message.epoch < known.epoch:",
                "if message.epoch < known.epoch and type(message).__name__ != 'Unfence':",
            ),
        ),
    ),
    Mutant(
        "activate ignores the epoch and what is prepared",
        "A lower than E → STALE; activate needs prepared = A",
        None,
        (
            OPEN_RACE,
            Change(
                f"{STORE}.protocol:check",
                "if message.epoch < known.epoch:",
                "if message.epoch < known.epoch and type(message).__name__ != 'Activate':",
            ),
        ),
    ),
    Mutant(
        "commands are bound to no history",
        "each carries the addressee's history_id; another history → WRONG_HISTORY",
        None,
        (Change(f"{STORE}.protocol:check", "if message.history != known.history:", "if False:"),),
    ),
    Mutant(
        "the timer lifts a sealed fence",
        "seal: from here the timer cannot lift the fence",
        1,
        (
            Change(f"{STORE}.protocol:lift", "or known.sealed ", ""),
            Change(f"{SHARD}.housekeeping:FenceTimer.is_over", "or protocol.sealed ", ""),
        ),
    ),
    Mutant(
        "the timer opens a shard that was not open",
        "the timer is armed only if the shard was Open",
        12,
        (
            Change(f"{STORE}.protocol:lift", "or not known.fenced.was_open", ""),
            Change(f"{SHARD}.housekeeping:FenceTimer.is_over", "or not fence.was_open", ""),
        ),
    ),
    Mutant(
        "the timer lifts a fence that a higher epoch has left behind",
        "A higher than E voids sealed; only the operator ends a fence after a seal",
        12,
        (Change(f"{STORE}.protocol:_raised", "sealed=False, fenced=fenced", "sealed=False"),),
    ),
    # --- active data deleted ---
    Mutant(
        "a generation's number is used again",
        "numbers are never reused",
        21,
        (
            Change(
                f"{PLAN}.route:_stable", "next_generation=wish.draft.generation + 1", "next_generation=wish.draft.generation"
            ),
        ),
    ),
    Mutant(
        "what is removed is decided upon without being written",
        "Collecting: CAS before any delete",
        None,
        (
            Change(
                "simulation.operators:OperatorProcess._ensure",
                "going = route.other if route.phase is Phase.COLLECTING else None",
                "going = route.other if route.phase in (Phase.COLLECTING, Phase.OBSERVING) else None",
            ),
        ),
    ),
    # --- stuck for ever ---
    Mutant(
        "a fence keeps its first epoch",
        "fence(A): Fenced at A",
        None,
        (Change(f"{STORE}.protocol:_fence", "epoch=message.epoch,", "epoch=before.epoch if before else message.epoch,"),),
    ),
    Mutant(
        "an old prepare is not cleared",
        "A higher than E voids older prepared; follow clears older prepared",
        None,
        (
            Change(f"{STORE}.protocol:_raised", "prepared=None, prepared_at=None, ", ""),
            Change(
                f"{STORE}.protocol:_follow",
                "follow(_changed(state, prepared=None, prepared_at=None), message.sources)",
                "follow(state, message.sources)",
            ),
        ),
    ),
    Mutant(
        "follow is not sent again for a rollback",
        "Fencing: follow(A) to T",
        1,
        (Change(f"{PLAN}.route:_fencing", "commands = follows(w)", "commands = []"),),
    ),
    Mutant(
        "a fenced shard is not followed",
        "pull needs the lease, and nothing else",
        18,
        (
            Change(
                f"{STORE}.store:Store.pull",
                "    held = self._leases",
                "    if known.mode == 'Fenced':\n        raise Refused(Refusal.FENCED, 'fenced')\n    held = self._leases",
            ),
        ),
    ),
    Mutant(
        "a page without rows does not say how far it goes",
        "upto, also when empty: rows may be filtered or purged",
        1,
        (
            Change(
                f"{STORE}.reader:Reader.feed",
                "return Page(",
                "upto = wanted[-1].row if wanted else cursor\n    return Page(",
            ),
        ),
    ),
    Mutant(
        "reads match the epoch",
        "Reads match generation and fingerprint, never the epoch alone",
        None,
        (
            Change(
                f"{GATEWAY}.fanout:_check",
                'if head.get("g") != pin.generation.generation',
                'if head.get("e") != pin.epoch or head.get("g") != pin.generation.generation',
            ),
        ),
    ),
    Mutant(
        "the new generation is silent until it is activated",
        "read: prepared at A if epoch ≥ A",
        None,
        (
            Change(
                f"{STORE}.protocol:check_read",
                "is_next = writer and prepared is not None and epoch >= prepared",
                "is_next = False",
            ),
        ),
    ),
    # --- what the simulation itself has found ---
    Mutant(
        "a read of one's own write is answered by a canary",
        "A gateway gives its own clients read-your-writes",
        20,
        (
            Change(
                f"{GATEWAY}.reads:Reads._pinned",
                "if request.strong or request.tokens else",
                "if request.strong else",
            ),
        ),
    ),
)
