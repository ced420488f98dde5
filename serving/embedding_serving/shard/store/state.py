"""What a shard durably knows of itself, and the snapshot of it that others may read."""

import sqlite3
from dataclasses import dataclass, field, replace
from typing import Any

from ...contract.admin import Mode
from ...contract.model import Frozen
from ...contract.route import Route
from .records import Identity, WrongIdentity

_PROTOCOL = "protocol"
_COUNTERS = "counters"
_IDENTITY = "identity"
_PUT_SOURCE = "INSERT OR REPLACE INTO sources VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
DIGEST_MODULUS = 1 << 128


class Fenced(Frozen):
    """epoch: of the last message that fenced. position: the last of the feed when the fence went up.
    was_open: only then may the shard lift it by itself.
    """

    epoch: int
    position: int
    deadline_seconds: float
    was_open: bool


class Protocol(Frozen):
    """The shard's side of PROTOCOL: everything that its answers to the operator depend on.

    opened_at: the epoch that stands in the versions of its writes. lifted: the epoch at which it lifted a fence itself.
    lost: its history was minted here and never admitted.
    """

    history: str
    epoch: int = 0
    mode: Mode = Mode.CLOSED
    opened_at: int = 0
    fenced: Fenced | None = None
    sealed: bool = False
    prepared: int | None = None
    prepared_at: int | None = None
    lifted: int | None = None
    retired: Route | None = None
    rebuild_id: str = ""
    lost: bool = True
    was_writer: bool = False


class Counters(Frozen):
    """next_row: the number that the next row gets. digest: over the live rows, additive over shards. text_bytes: of theirs, in
    UTF-8.
    """

    next_row: int = 1
    digest: int = 0
    documents: int = 0
    tombstones: int = 0
    failed: int = 0
    text_bytes: int = 0

    @property
    def position(self) -> int:
        return self.next_row - 1


@dataclass(frozen=True, slots=True)
class Source:
    """A feed that is followed. resync_from: rows up to this number that come from it are older than its history.

    encoder: what makes the vectors of its rows, where they are not taken along; donors: what has some of them. consumer:
    name of the lease there; None = this pod's own. given: the nonce that the operator named; another one is in use once
    the feed was read again from 0.
    complete: it was read to its end once, so that what is here is a state that the source was in (or, while it is read
    again, that its predecessor was in).
    """

    shard: int
    history: str
    host: str
    lower: int
    upper: int
    with_vectors: bool
    nonce: str
    cursor: int
    resync_from: int | None = None
    complete: bool = False
    encoder: str | None = None
    consumer: str | None = None
    given: str | None = None
    donors: tuple[str, ...] = ()

    @property
    def reading(self) -> "Source":
        """What is read and how, without how far: two that are equal here are read by one and the same connection."""
        return replace(self, cursor=0, resync_from=None, complete=False, given=None)


@dataclass(frozen=True, slots=True)
class State:
    """Immutable; the writer thread publishes a new one after each commit."""

    identity: Identity
    protocol: Protocol
    counters: Counters
    sources: tuple[Source, ...] = ()
    leases: dict[str, tuple[str, int]] = field(default_factory=dict)
    """consumer → nonce and position that it has durably reached."""

    @property
    def position(self) -> int:
        return self.counters.position

    def with_protocol(self, protocol: Protocol) -> "State":
        return replace(self, protocol=protocol)

    def with_counters(self, counters: Counters) -> "State":
        return replace(self, counters=counters)


def load(connection: sqlite3.Connection, identity: Identity) -> State:
    """The state of the file. Raises WrongIdentity where it was made for something else."""
    stored: dict[str, str] = dict(connection.execute("SELECT key, value FROM state"))
    expected = _identity_text(identity)
    if stored[_IDENTITY] != expected:
        raise WrongIdentity(
            f"the volume holds {stored[_IDENTITY]} and this pod is {expected}: give it the volume that was made for it"
        )
    sources = connection.execute(
        "SELECT shard, history, host, lower, upper, with_vectors, nonce, cursor, resync_from, complete, encoder, consumer, "
        "given, donors FROM sources ORDER BY shard"
    )
    leases = connection.execute("SELECT consumer, nonce, position FROM leases")
    return State(
        identity=identity,
        protocol=Protocol.model_validate_json(stored[_PROTOCOL]),
        counters=Counters.model_validate_json(stored[_COUNTERS]),
        sources=tuple(_source(row) for row in sources),
        leases={consumer: (nonce, position) for consumer, nonce, position in leases},
    )


def initialise(connection: sqlite3.Connection, state: State) -> None:
    _put(connection, _IDENTITY, _identity_text(state.identity))
    _put(connection, _PROTOCOL, state.protocol.model_dump_json())
    _put(connection, _COUNTERS, state.counters.model_dump_json())


def save(connection: sqlite3.Connection, before: State, after: State) -> None:
    """Writes what differs, within the caller's transaction."""
    if after.protocol != before.protocol:
        _put(connection, _PROTOCOL, after.protocol.model_dump_json(exclude_defaults=True))
    if after.counters != before.counters:
        _put(connection, _COUNTERS, after.counters.model_dump_json())
    if after.sources != before.sources:
        kept = {source.shard for source in after.sources}
        connection.executemany(
            "DELETE FROM sources WHERE shard = ?", [(old.shard,) for old in before.sources if old.shard not in kept]
        )
        changed = [new for new in after.sources if new not in before.sources]
        connection.executemany(_PUT_SOURCE, map(_columns, changed))
    if after.leases != before.leases:
        gone = [(consumer,) for consumer in before.leases if consumer not in after.leases]
        connection.executemany("DELETE FROM leases WHERE consumer = ?", gone)
        moved = [(consumer, *lease) for consumer, lease in after.leases.items() if before.leases.get(consumer) != lease]
        connection.executemany("INSERT OR REPLACE INTO leases VALUES (?, ?, ?)", moved)


def _put(connection: sqlite3.Connection, key: str, value: str) -> None:
    connection.execute("INSERT OR REPLACE INTO state VALUES (?, ?)", (key, value))


def _identity_text(identity: Identity) -> str:
    return (
        f"generation {identity.generation}, shard {identity.shard} of {identity.shards}, "
        f"fingerprint {identity.fingerprint}, {identity.dimensions} dimensions, {identity.distance}"
    )


def _source(row: tuple[Any, ...]) -> Source:
    shard, history, host, lower, upper, with_vectors, nonce, cursor, resync_from, complete, *lease, donors = row
    flags = bool(with_vectors), bool(complete)
    lease.append(tuple(donors.split()))
    return Source(shard, history, host, int(lower), int(upper), flags[0], nonce, cursor, resync_from, flags[1], *lease)


def _columns(source: Source) -> tuple[Any, ...]:
    return (
        source.shard,
        source.history,
        source.host,
        str(source.lower),
        str(source.upper),
        int(source.with_vectors),
        source.nonce,
        source.cursor,
        source.resync_from,
        int(source.complete),
        source.encoder,
        source.consumer,
        source.given,
        " ".join(source.donors),
    )
