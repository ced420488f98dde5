"""What a shard had promised when the power went off, and what it may hold either way.

Each client owns its documents and sends one operation after the other, so at most its last one is in doubt. Numbers of
records are the clock: `sent` and `answered` count the records that were there before.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from embedding_serving.contract.admin import Mode
from embedding_serving.shard.store.records import WriteBatch, WriteResult
from embedding_serving.shard.store.store import Store


@dataclass(frozen=True, slots=True)
class Content:
    text: str | None
    metadata: str
    vector: bytes | None


Documents = Mapping[str, Content | None]


@dataclass(slots=True)
class Operation:
    """after: its documents once it is done. before: the same documents until then."""

    client: int
    batch: WriteBatch
    before: Documents
    after: Documents
    sent: int
    answered: int | None = None
    results: list[WriteResult] = field(default_factory=list)


@dataclass(slots=True)
class Command:
    """A message of the operator, and what holds from its answer on."""

    epoch: int
    mode: Mode
    sent: int
    answered: int | None = None


@dataclass(slots=True)
class Promises:
    """start, admitted, history: what there was when the recording began, as far as it is known."""

    start: dict[str, Content | None]
    admitted: tuple[int, Mode] = (0, Mode.CLOSED)
    """epoch and mode."""
    operations: list[Operation] = field(default_factory=list)
    commands: list[Command] = field(default_factory=list)
    cursors: list[tuple[int, int]] = field(default_factory=list)
    """record, cursor that the copy had told its source by then."""
    history: str | None = None

    def until(self, record: int) -> "Promises":
        """As it was known when the power went off: what was answered later is in doubt, what was sent later is not."""
        cut = Promises(self.start, self.admitted, history=self.history)
        for one in self.operations:
            if one.sent <= record:
                known = one.answered is not None and one.answered <= record
                cut.operations.append(one if known else Operation(one.client, one.batch, one.before, one.after, one.sent))
        for command in self.commands:
            if command.sent <= record:
                known = command.answered is not None and command.answered <= record
                cut.commands.append(command if known else Command(command.epoch, command.mode, command.sent))
        cut.cursors = [(at, cursor) for at, cursor in self.cursors if at <= record]
        return cut

    def documents(self) -> dict[str, Content | None]:
        """After everything that was answered."""
        documents = dict(self.start)
        for one in self.operations:
            if one.answered is not None:
                documents.update(one.after)
        return documents

    def in_doubt(self) -> list[Operation]:
        return [one for one in self.operations if one.answered is None]


def contents(store: Store, ids: list[str]) -> dict[str, Content | None]:
    """What a strong read gives."""
    found = store.reader.get(ids)
    vectors = store.reader.vectors_of([document.row for document in found if document is not None])
    return {
        id_: None if document is None else Content(document.text, document.metadata, vectors.get(document.row))
        for id_, document in zip(ids, found, strict=True)
    }


def check_documents(promises: Promises, found: Documents) -> None:
    """Every answered operation holds; one in doubt was done whole or not at all."""
    expected = promises.documents()
    for one in promises.in_doubt():
        now = {id_: found[id_] for id_ in one.after}
        assert now in (dict(one.before), dict(one.after)), f"half of {one.batch.request_id} is there: {now}"
        expected.update(now)
    for id_, content in expected.items():
        assert found[id_] == content, f"{id_} is {_short(found[id_])}, acknowledged was {_short(content)}"


def check_commands(promises: Promises, store: Store) -> None:
    """What the operator was answered holds, or what it had asked for since."""
    known = store.state.protocol
    answered = [(command.epoch, command.mode) for command in promises.commands if command.answered is not None]
    asked = [(command.epoch, command.mode) for command in promises.commands if command.answered is None]
    allowed = [(answered or [promises.admitted])[-1], *asked]
    assert (known.epoch, known.mode) in allowed, f"{known.epoch} {known.mode} is none of {allowed}"
    if answered or promises.admitted[0]:
        assert known.history == promises.history, "the history was lost"


def _short(content: Content | None) -> str:
    return "absent" if content is None else f"{(content.text or '')[:40]!r} {content.metadata}"
