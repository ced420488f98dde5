"""How many rows the conditions of a filter name, counted as far as it takes to see which names fewest."""

import sqlite3
from collections.abc import Sequence

from .sql import Sql

_FIRST_LIMIT = 1_000
_LAST_LIMIT = 100_000


def sizes(connection: sqlite3.Connection, selects: Sequence[Sql]) -> list[int | None]:
    """Entries that each SELECT names; None for many more than the smallest, or where all are many. Raises sqlite3.Error."""
    limit = _FIRST_LIMIT
    while True:
        counts = [_count(connection, select, limit) for select in selects]
        if min(counts) < limit or limit >= _LAST_LIMIT:
            return [count if count < limit else None for count in counts]
        limit *= 10


def _count(connection: sqlite3.Connection, select: Sql, limit: int) -> int:
    text = f"SELECT count(*) FROM ({select.text} LIMIT {limit})"
    return int(connection.execute(text, select.parameters).fetchone()[0])
