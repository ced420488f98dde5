"""Who is next among the keys that are due: fair to other namespaces, and to fresh changes beside what is repeated.

First come, first served would let a hundred objects that fail slowly hold every worker. So namespaces take turns, changes
and repeats (retries, resyncs) take turns, and neither one namespace nor the repeats get all the workers.
"""

from collections import Counter
from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Key:
    """Names one object to look at."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.kind}/{self.namespace}/{self.name}"


Lane = dict[str, dict[Key, float]]
"""Keys by namespace, the namespace whose turn it is first; with the time at which each was due, the oldest first."""


class Lanes:
    """A key is waiting or running, or unknown here. Every operation takes constant time."""

    def __init__(self, workers: int) -> None:
        self._most_of_namespace = workers - workers // 4
        self._most_repeats = max(1, workers // 2)
        self._changes: Lane = {}
        self._repeats: Lane = {}
        self._repeats_are_next = False
        self._running: dict[Key, bool] = {}  # whether it is a repeat
        self._running_of: Counter[str] = Counter()
        self._running_repeats = 0

    def __contains__(self, key: Key) -> bool:
        """Whether the key waits."""
        return any(key in lane.get(key.namespace, ()) for lane in (self._changes, self._repeats))

    def runs(self, key: Key) -> bool:
        return key in self._running

    def put(self, key: Key, due: float, *, changed: bool) -> None:
        """Lets a key wait; one that waits as a repeat becomes a change where something changed."""
        if changed:
            due = min(due, _remove(self._repeats, key, due))
            self._changes.setdefault(key.namespace, {}).setdefault(key, due)
        elif key not in self:
            self._repeats.setdefault(key.namespace, {})[key] = due

    def take(self) -> Key | None:
        """The next key, running from now on; None where nothing waits or nothing that waits may run."""
        lanes = [(self._changes, False), (self._repeats, True)]
        for lane, repeated in reversed(lanes) if self._repeats_are_next else lanes:
            if repeated and self._running_repeats >= self._most_repeats:
                continue
            key = self._first(lane)
            if key is not None:
                self._repeats_are_next = not repeated
                self._running[key] = repeated
                self._running_of[key.namespace] += 1
                self._running_repeats += repeated
                return key
        return None

    def done(self, key: Key) -> None:
        """The key runs no more."""
        self._running_repeats -= self._running.pop(key)
        self._running_of[key.namespace] -= 1
        if not self._running_of[key.namespace]:
            del self._running_of[key.namespace]

    def waiting(self) -> tuple[int, float | None]:
        """How many keys wait, and since when the oldest does. May be asked from another thread."""
        namespaces = [*list(self._changes.values()), *list(self._repeats.values())]
        firsts = [due for keys in namespaces for due in list(keys.values())[:1]]
        return sum(map(len, namespaces)), min(firsts, default=None)

    def _first(self, lane: Lane) -> Key | None:
        free = (namespace for namespace in lane if self._running_of[namespace] < self._most_of_namespace)
        namespace = next(free, None)
        if namespace is None:
            return None
        keys = lane.pop(namespace)
        key = next(iter(keys))
        del keys[key]
        if keys:
            lane[namespace] = keys  # behind the others
        return key


def _remove(lane: Lane, key: Key, otherwise: float) -> float:
    keys = lane.get(key.namespace, {})
    due = keys.pop(key, otherwise)
    if key.namespace in lane and not keys:
        del lane[key.namespace]
    return due
