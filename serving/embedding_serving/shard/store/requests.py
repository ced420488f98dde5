"""What a shard remembers of a request, a document each: the result, and a digest of what was asked for.

The digest is the client's side alone. A write that is held over a switch of generations is embedded again, by another
model, and must still be known as the same.
"""

from typing import Any

from ...contract.admin import Refusal
from .records import Change, Refused, WriteResult

REUSED = "this Idempotency-Key was used for another write: send this one under a key of its own"


WHOLE_REQUEST = ""
"""Stands for a document's id in the results of a request that names none."""


def entry(result: WriteResult, digest: str | None) -> Any:
    """As it stands in the table of requests."""
    if result.code is not None:
        known: Any = {"code": result.code, "detail": result.detail}
    else:
        known = result.version
    return known if digest is None else {"digest": digest, "result": known}


def result_of(change: Change, entry: Any) -> WriteResult:
    """What the change is answered with that was made before, or that bears the name of another."""
    if _differs(entry, change.digest):
        return WriteResult(change.id, code=Refusal.IDEMPOTENCY_KEY_REUSED.value, detail=REUSED)
    known = _known(entry)
    if isinstance(known, dict):
        return WriteResult(change.id, code=known["code"], detail=known["detail"])
    return WriteResult(change.id, version=known)


def counted(number: int, digest: str | None) -> Any:
    """Of a request that names no document."""
    return number if digest is None else {"digest": digest, "result": number}


def counted_elsewhere(entry: Any) -> Any:
    """The same request as done, when another shard tells of the number."""
    return counted(0, entry.get("digest") if isinstance(entry, dict) else None)


def count_of(entry: Any, digest: str | None) -> int:
    """Raises Refused for another request of the same name."""
    if _differs(entry, digest):
        raise Refused(Refusal.IDEMPOTENCY_KEY_REUSED, REUSED)
    return int(_known(entry))


def _differs(entry: Any, digest: str | None) -> bool:
    return isinstance(entry, dict) and digest is not None and entry.get("digest", digest) != digest


def _known(entry: Any) -> Any:
    return entry["result"] if isinstance(entry, dict) and "digest" in entry else entry
