"""Row numbers out of SQLite as an array, without a Python object a row."""

import sqlite3

import numpy as np
from numpy.typing import NDArray

from .compile import Query


def row_numbers(connection: sqlite3.Connection, query: Query) -> NDArray[np.int64]:
    """Row numbers of a query, ascending, each once: int64 [n]. Raises sqlite3.Error."""
    (text,) = connection.execute(f"SELECT group_concat(row) FROM ({query.sql})", query.parameters).fetchone()
    if text is None:
        return np.empty(0, np.int64)
    found = np.fromstring(text, dtype=np.int64, sep=",")
    return found if bool(np.all(found[1:] > found[:-1])) else np.unique(found)
