"""The sizes at which the index changes what it does. Defaults are measured; tests make them small."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    exact_rows: int = 10_000
    """Fewer live rows than this are scanned: no index is faster."""
    flat_rows: int = 300_000
    """Auto puts inverted lists in front beyond this many live rows."""
    exact_filter_rows: int = 2_000
    """A filter that leaves at most this many rows is answered by scanning them: 0.1 to 0.2 us a row, in any order."""
    exact_tail_rows: int = 1_000
    """So many allowed rows of the tail are scanned."""
    fold_rows: int = 256
    """Appended rows are scanned exactly until so many are encoded at once."""
    insist_rows: int = 8_192
    """Beyond this many waiting rows, folding them in waits for the searches instead of trying again later."""
    growth_rows_min: int = 10_000
    growth_rows_max: int = 200_000
    """A new build is due when rows appended since the last exceed its size, within these bounds."""
    quiet_seconds: float = 5.0
    quiet_growth_rows_min: int = 1_000
    quiet_growth_share: float = 0.1
    """Where nothing came for so long, a build is due for fewer rows: two engines cost a search up to twice as much as one."""
    dead_share: float = 0.3
    dead_rows_min: int = 4_096
    """Dead rows beyond both are dropped by a build that writes the vectors anew."""
    snapshot_rows: int = 50_000
    snapshot_seconds: float = 60.0
    """The manifest is brought up to date after so many rows, or so long after the first."""
    retry_seconds: float = 1.0
    retry_seconds_max: float = 300.0
    """Pause after a build that died; doubled each time."""
    rest_factor: float = 4.0
    """After a build of t seconds the next for growth or dead rows waits t times this, unless it is long overdue."""
    first_capacity: int = 65_536
    allocate_bytes: int = 64 << 20
    """Disk is reserved ahead in steps of so much: a full disk is met here, not in a search."""
    check_seconds: float = 0.25
    """How often the upkeep thread looks."""
    load_rows: int = 8_192
    """Rows read from the store at once."""
