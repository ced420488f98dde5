"""Virtual time: an event loop that never waits, and the process's clock and dice, which follow it.

What is shipped asks the modules `time`, `random` and `secrets`; so these answer from the loop and the seed here. It must be
imported before anything that is shipped: some of it takes hold of the clock at import.
"""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from typing import Any

EPOCH_SECONDS = 1_800_000_000
FIRST_MOMENT = 1_000.0


class Deadlock(Exception):
    """Everybody waits, and nothing will ever happen."""


class VirtualLoop(asyncio.BaseEventLoop):
    """`skew`: how much wall clocks are off."""

    def __init__(self) -> None:
        super().__init__()
        self.now = FIRST_MOMENT
        self.skew = 0.0
        self._selector = self
        self._clock_resolution = 1e-6

    def time(self) -> float:
        return self.now

    def select(self, timeout: float | None) -> list[Any]:
        """Instead of waiting."""
        if timeout is None:
            raise Deadlock
        self.now += timeout
        return []

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:  # type: ignore[override]
        """At once: what a thread does is one step here."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def _process_events(self, event_list: Any) -> None:
        pass

    def _write_to_self(self) -> None:
        pass


_real_monotonic, _real_time, _real_token_hex = time.monotonic, time.time, secrets.token_hex


class _Process:
    loop: VirtualLoop | None = None
    dice = random.Random(0)


def install(loop: VirtualLoop | None, seed: int = 0) -> None:
    """From here on the process lives in the loop's time, by the seed's dice; None: as it did before."""
    _Process.loop = loop
    _Process.dice = random.Random(f"secrets {seed}")
    random.seed(seed)


def now() -> float:
    return _Process.loop.now if _Process.loop else _real_monotonic()


def wall_seconds() -> float:
    return EPOCH_SECONDS + _Process.loop.now + _Process.loop.skew if _Process.loop else _real_time()


def _token_hex(size: int = 32) -> str:
    return f"{_Process.dice.getrandbits(8 * size):0{2 * size}x}" if _Process.loop else _real_token_hex(size)


time.monotonic = now
time.time = wall_seconds
time.time_ns = lambda: int(wall_seconds() * 1_000_000_000)
secrets.token_hex = _token_hex  # type: ignore[assignment]
