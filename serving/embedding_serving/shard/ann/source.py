"""Where the index gets its vectors from: the store, which alone is the truth."""

from typing import Protocol

from .arrays import Rows, Vectors


class VectorSource(Protocol):
    """Reads of the store on a connection of its own, callable from any thread."""

    def live_rows(self, above: int) -> Rows:
        """int64, ascending: numbers of the live rows beyond `above` that have a vector."""

    def vectors(self, above: int, limit: int) -> tuple[Rows, Vectors]:
        """The next live rows beyond `above` in order, at most `limit`: int64 [n] and float32 [n, dimensions]."""
