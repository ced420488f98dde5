"""The operator's calls, as the API server's audit log has them."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import orjson

WRITES = frozenset({"create", "update", "patch", "delete"})


@dataclass(frozen=True)
class Call:
    verb: str
    resource: str
    """`deployments`, or with its subresource `deployments/scale`."""
    namespace: str
    name: str
    code: int
    began: float
    """Seconds since the epoch, as the API server received it."""
    ended: float

    @property
    def is_write(self) -> bool:
        """Whether it changes the world; the Lease is the operator's own heart-beat."""
        return self.verb in WRITES and self.resource != "leases"

    @property
    def is_look(self) -> bool:
        """The first call of every reconcile."""
        return self.verb == "get" and self.resource == "embeddingmodels"


class AuditLog:
    """Reads on where it stopped."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._offset = 0

    def read(self) -> list[Call]:
        """Calls that have ended since the last reading, by the time they began."""
        if not self._path.exists():
            return []
        with self._path.open("rb") as log:
            log.seek(self._offset)
            data = log.read()
        whole = data[: data.rfind(b"\n") + 1]  # the last line may be being written
        self._offset += len(whole)
        calls = [_call(line) for line in whole.splitlines()]
        return sorted((call for call in calls if call), key=lambda call: call.began)


def tally(calls: Iterable[Call]) -> Counter[tuple[str, str]]:
    """Calls by verb and resource."""
    return Counter((call.verb, call.resource) for call in calls)


def _call(line: bytes) -> Call | None:
    event = orjson.loads(line)
    about = event.get("objectRef")
    if not about or event["verb"] == "watch":
        return None
    resource = about["resource"] + (f"/{about['subresource']}" if about.get("subresource") else "")
    return Call(
        verb=event["verb"],
        resource=resource,
        namespace=about.get("namespace", ""),
        name=about.get("name", ""),
        code=event.get("responseStatus", {}).get("code", 0),
        began=_seconds(event["requestReceivedTimestamp"]),
        ended=_seconds(event["stageTimestamp"]),
    )


def _seconds(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp).timestamp()
