"""The shard's side of the rebuild protocol: pure functions from state and message to state and answer.

The writer thread runs them between writes and persists what they answer before anybody learns of it, so "the last
position" in a fence has no write behind it. Every one can be repeated. They raise Refused, and then nothing has changed.
"""

import secrets
from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from ...contract.admin import (
    Activate,
    Answer,
    FeedSource,
    Fence,
    Follow,
    Message,
    Mode,
    Prepare,
    Readmit,
    Refusal,
    Release,
    Retire,
    Seal,
    Unfence,
)
from .records import Refused
from .state import Fenced, Protocol, Source, State

M = TypeVar("M", bound=Message)


def command(state: State, message: Message) -> tuple[State, Answer]:
    """Raises Refused."""
    check(state, message)
    return _HANDLERS[type(message)](_raised(state, message), message)


def check(state: State, message: Message) -> None:
    """Raises Refused where the message is not for this shard, or an old one."""
    known = state.protocol
    if message.history != known.history:
        raise Refused(Refusal.WRONG_HISTORY, f"this shard has history {known.history}, the message is for {message.history}")
    if message.epoch < known.epoch:
        raise Refused(Refusal.STALE, f"this shard is at epoch {known.epoch}, the message is of {message.epoch}")


def lift(state: State) -> State:
    """What the fence's own timer does: only an unsealed fence of a shard that was open opens again."""
    known = state.protocol
    if known.mode is not Mode.FENCED or known.sealed or known.fenced is None or not known.fenced.was_open:
        return state
    return _changed(state, mode=Mode.OPEN, fenced=None, lifted=known.epoch)


def check_write(state: State, generation: int, fingerprint: str) -> None:
    """Raises Refused where the shard takes no writes, or none of this vector space."""
    known = state.protocol
    _check_space(state, generation, fingerprint)
    match known.mode:
        case Mode.FENCED:
            raise Refused(Refusal.FENCED, f"writes are fenced at epoch {known.epoch}: hold them and try again")
        case Mode.CLOSED:
            raise Refused(Refusal.CLOSED, "this shard does not take writes: it was not admitted by the operator")


def check_read(state: State, generation: int, fingerprint: str, *, writer: bool, canary: bool = False, epoch: int = 0) -> None:
    """Raises Refused where reads are not answered. `writer`: this is pod 0; followers serve until they are retired.

    `epoch`: of the route that names this generation. From there on a shard that is prepared has all that was acknowledged,
    and answers before it is activated.
    """
    prepared = state.protocol.prepared
    is_next = writer and prepared is not None and epoch >= prepared
    _check_space(state, generation, fingerprint, is_next=is_next)
    if writer and state.protocol.mode is Mode.CLOSED and not canary and not is_next:
        raise Refused(Refusal.CLOSED, "this shard is not admitted by the operator")


def check_vectors(state: State, fingerprint: str) -> None:
    """Raises Refused where the vectors here are of another space. Neither mode nor history matter to a vector."""
    identity = state.identity
    if fingerprint != identity.fingerprint:
        raise Refused(Refusal.WRONG_FINGERPRINT, f"this shard holds vectors of {identity.fingerprint}, not of {fingerprint}")


def _check_space(state: State, generation: int, fingerprint: str, *, is_next: bool = False) -> None:
    known, identity = state.protocol, state.identity
    if known.retired is not None and not is_next:
        raise Refused(Refusal.MOVED, f"generation {identity.generation} is retired", known.retired)
    if generation != identity.generation:
        raise Refused(Refusal.WRONG_GENERATION, f"this shard is of generation {identity.generation}, not {generation}")
    check_vectors(state, fingerprint)


def _fence(state: State, message: Fence) -> tuple[State, Answer]:
    known = state.protocol
    if known.lifted == message.epoch:
        raise Refused(Refusal.LIFTED, f"the fence of epoch {message.epoch} was lifted after its deadline")
    before = known.fenced if known.mode is Mode.FENCED else None
    fenced = Fenced(
        epoch=message.epoch,
        position=before.position if before else state.position,
        deadline_seconds=message.deadline_seconds,
        was_open=before.was_open if before else known.mode is Mode.OPEN,
    )
    state = _changed(state, mode=Mode.FENCED, fenced=fenced, rebuild_id=message.rebuild_id)
    return state, answer(state, position=fenced.position)


def _seal(state: State, message: Seal) -> tuple[State, Answer]:
    known = state.protocol
    if known.lifted == message.epoch:
        raise Refused(Refusal.LIFTED, f"the fence of epoch {message.epoch} was lifted after its deadline")
    if known.mode is not Mode.FENCED or known.fenced is None or known.fenced.position != message.position:
        raise Refused(Refusal.NOT_FENCED, f"this shard is {known.mode} and not fenced at {message.position}")
    state = _changed(state, sealed=True)
    return state, answer(state, position=message.position)


def _follow(state: State, message: Follow) -> tuple[State, Answer]:
    if state.protocol.mode is Mode.OPEN:
        raise Refused(Refusal.OPEN, "this shard takes writes and follows nobody")
    if state.protocol.prepared == message.epoch:
        raise Refused(Refusal.NOT_CAUGHT_UP, f"this shard is frozen by prepare at epoch {message.epoch}")
    return (followed := follow(_changed(state, prepared=None, prepared_at=None), message.sources)), answer(followed)


def _prepare(state: State, message: Prepare) -> tuple[State, Answer]:
    known = state.protocol
    if known.prepared == message.epoch:
        return state, answer(state, position=known.prepared_at)
    if known.mode is Mode.OPEN:
        raise Refused(Refusal.OPEN, "this shard takes writes already")
    cursors = {(source.shard, source.history): source.cursor for source in state.sources}
    for wanted in message.sources:
        reached = cursors.get((wanted.shard, wanted.history), -1)
        if reached < wanted.position:
            detail = f"source shard {wanted.shard} was read up to {reached} of {wanted.position}"
            raise Refused(Refusal.NOT_CAUGHT_UP, detail)
    if message.digest is not None and message.digest != digest_text(state):
        raise Refused(Refusal.DIGESTS_DIFFER, f"this shard has digest {digest_text(state)}, expected {message.digest}")
    leases = state.leases | {reverse_consumer(wanted.shard): (message.rebuild_id, state.position) for wanted in message.sources}
    state = _changed(state, prepared=message.epoch, prepared_at=state.position, rebuild_id=message.rebuild_id)
    state = replace(state, leases=leases)
    return state, answer(state, position=state.position)


def _retire(state: State, message: Retire) -> tuple[State, Answer]:
    state = _changed(state, retired=message.route)
    return state, answer(state)


def _readmit(state: State, message: Readmit) -> tuple[State, Answer]:
    state = _changed(state, retired=None)
    return state, answer(state)


def _activate(state: State, message: Activate) -> tuple[State, Answer]:
    known = state.protocol
    if known.mode is Mode.OPEN and known.opened_at == message.epoch:
        return state, answer(state)
    if known.prepared != message.epoch:
        raise Refused(Refusal.NOT_PREPARED, f"this shard is prepared at {known.prepared}, not at {message.epoch}")
    return _opened(state, message)


def _unfence(state: State, message: Unfence) -> tuple[State, Answer]:
    known = state.protocol
    if known.mode is Mode.OPEN and known.opened_at == message.epoch:
        return state, answer(state)
    if known.mode is Mode.FENCED and known.fenced is not None and known.fenced.epoch == message.epoch:
        raise Refused(Refusal.STALE, f"the fence of epoch {message.epoch} ends at a higher epoch only")
    return _opened(state, message)


def _opened(state: State, message: Message) -> tuple[State, Answer]:
    state = _changed(
        state,
        mode=Mode.OPEN,
        opened_at=message.epoch,
        fenced=None,
        sealed=False,
        prepared=None,
        prepared_at=None,
        retired=None,
        lost=False,
        was_writer=True,
    )
    state = replace(state, sources=())
    return state, answer(state)


def _raised(state: State, message: Message) -> State:
    """A higher epoch voids what was gathered at a lower one; a fence that stands is then the operator's alone to end."""
    known = state.protocol
    if message.epoch == known.epoch:
        return state
    fenced = known.fenced.model_copy(update={"was_open": False}) if known.fenced else None
    return _changed(state, epoch=message.epoch, prepared=None, prepared_at=None, sealed=False, fenced=fenced)


def follow(state: State, wanted: tuple[FeedSource, ...]) -> State:
    """Goes on from the cursor where a feed is the same as before; another history begins anew."""
    known = {source.shard: source for source in state.sources}
    return replace(state, sources=tuple(_source(state, known.get(source.shard), source) for source in wanted))


def restart(state: State, shard: int, nonce: str | None = None) -> State:
    """Reads a source again from 0, under a nonce of its own: this copy is behind what it once acknowledged.

    nonce: of the reading that found it out; one that is over ends no other. Raises Refused for a former writer, whose rows
    may be the only ones (it waits for a person or the operator), and for a shard that is frozen.
    """
    if state.protocol.prepared is not None:
        raise Refused(Refusal.NOT_CAUGHT_UP, "this shard is frozen by prepare")
    if state.protocol.was_writer:
        raise Refused(Refusal.RESET, "this shard took writes once and does not drop rows by itself")
    return replace(
        state,
        sources=tuple(
            replace(source, cursor=0, nonce=secrets.token_hex(8), resync_from=state.position)
            if source.shard == shard and nonce in (None, source.nonce)
            else source
            for source in state.sources
        ),
    )


def _source(state: State, known: Source | None, wanted: FeedSource) -> Source:
    """With a new history, what came under the old one is outdated: it goes when the new feed was read to its end.

    With the same one, a lease that is in use stays so, unless the operator names another than before.
    """
    if known is not None and known.history == wanted.history:
        is_new = wanted.nonce not in (None, known.given)
        return replace(
            known,
            host=wanted.host,
            lower=wanted.lower,
            upper=wanted.upper,
            with_vectors=wanted.with_vectors,
            encoder=wanted.encoder,
            donors=wanted.donors,
            consumer=wanted.consumer if is_new else known.consumer,
            nonce=wanted.nonce if is_new and wanted.nonce else known.nonce,
            given=wanted.nonce if is_new else known.given,
        )
    outdated = known is not None and wanted.position == 0 and not state.protocol.was_writer and state.position > 0
    return Source(
        shard=wanted.shard,
        history=wanted.history,
        host=wanted.host,
        lower=wanted.lower,
        upper=wanted.upper,
        with_vectors=wanted.with_vectors,
        nonce=wanted.nonce or secrets.token_hex(8),
        cursor=wanted.position,
        resync_from=state.position if outdated else None,
        complete=known is not None and known.complete and outdated,
        encoder=wanted.encoder,
        donors=wanted.donors,
        consumer=wanted.consumer,
        given=wanted.nonce,
    )


def reverse_consumer(shard: int) -> str:
    """Lease of a former writer's shard on the generation that took over."""
    return f"reverse-{shard}"


def digest_text(state: State) -> str:
    return f"{state.counters.digest:032x}"


def _changed(state: State, **changes: Any) -> State:
    return state.with_protocol(Protocol.model_validate({**dict(state.protocol), **changes}))


def _release(state: State, message: Release) -> tuple[State, Answer]:
    kept = {consumer: lease for consumer, lease in state.leases.items() if consumer != message.consumer}
    state = replace(state, leases=kept)
    return state, answer(state)


def answer(state: State, position: int | None = None) -> Answer:
    known = state.protocol
    return Answer(history=known.history, epoch=known.epoch, mode=known.mode, position=position, digest=digest_text(state))


_HANDLERS: dict[type[Message], Callable[[State, Any], tuple[State, Answer]]] = {
    Fence: _fence,
    Seal: _seal,
    Follow: _follow,
    Prepare: _prepare,
    Retire: _retire,
    Readmit: _readmit,
    Activate: _activate,
    Unfence: _unfence,
    Release: _release,
}
