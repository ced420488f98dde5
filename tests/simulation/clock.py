"""Virtual time: an event loop that never waits, and the process's clock and dice, which follow it.

What is shipped asks the modules `time`, `random` and `secrets`; so these answer from the loop and the seed here. It must be
imported before anything that is shipped: some of it takes hold of the clock at import.
"""

import asyncio
import random
import secrets
import time
from asyncio import events
from collections import deque
from collections.abc import Callable, Coroutine
from contextvars import Context, copy_context
from heapq import heappop, heappush
from typing import Any, TypeVar

T = TypeVar("T")
EPOCH_SECONDS = 1_800_000_000
FIRST_MOMENT = 1_000.0


class Deadlock(Exception):
    """Everybody waits, and nothing will ever happen."""


class Step:
    """What runs once, unless it is called off before: the loop's handle, with what is asked of one here."""

    __slots__ = ("args", "callback", "context")

    def __init__(self, callback: Callable[..., Any] | None, args: tuple[Any, ...], context: Context | None) -> None:
        self.callback = callback
        self.args = args
        self.context = copy_context() if context is None else context

    def cancel(self) -> None:
        self.callback = None
        self.args = ()


class VirtualLoop:
    """What is asked of a loop here, and no more: a life has thousands of steps. `skew`: how much wall clocks are off."""

    def __init__(self) -> None:
        self.now = FIRST_MOMENT
        self.skew = 0.0
        self._ready: deque[Step] = deque()
        self._later: list[tuple[float, int, Step]] = []
        self._count = 0
        self._as_loop: Any = self
        self._tasks: list[asyncio.Task[Any]] = []
        self._told: Callable[[dict[str, Any]], object] = lambda context: None

    # --- what happens next ---

    def run_until_complete(self, work: Coroutine[Any, Any, T]) -> T:
        task = self.create_task(work)
        done, ready, later = task.done, self._ready, self._later
        events._set_running_loop(self._as_loop)
        try:
            while not done():
                if not ready:
                    if not later:
                        raise Deadlock
                    when, _, step = heappop(later)
                    if step.callback is None:
                        continue
                    self.now = max(self.now, when)
                else:
                    step = ready.popleft()
                    if step.callback is None:
                        continue
                try:
                    step.context.run(step.callback, *step.args)
                except Exception as error:
                    self.call_exception_handler({"message": f"{step.callback} failed", "exception": error})
        finally:
            events._set_running_loop(None)
        result: T = task.result()
        return result

    def end(self) -> None:
        """Nobody goes on."""
        for task in self._tasks:
            task.cancel()

    # --- what asyncio asks of a loop ---

    def time(self) -> float:
        return self.now

    def call_soon(self, callback: Any, *args: Any, context: Context | None = None) -> Any:
        step = Step(callback, args, context)
        self._ready.append(step)
        return step

    call_soon_threadsafe = call_soon

    def call_later(self, delay: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        return self.call_at(self.now + delay, callback, *args, context=context)

    def call_at(self, when: float, callback: Any, *args: Any, context: Context | None = None) -> Any:
        step = Step(callback, args, context)
        self._count += 1
        heappush(self._later, (when, self._count, step))
        return step

    def create_future(self) -> "asyncio.Future[Any]":
        return asyncio.Future(loop=self._as_loop)

    def create_task(self, work: Any, *, name: str | None = None, context: Context | None = None) -> Any:
        task: asyncio.Task[Any] = asyncio.Task(work, loop=self._as_loop, name=name, context=context)
        self._tasks.append(task)
        if len(self._tasks) > 1_000:
            self._tasks = [one for one in self._tasks if not one.done()]
        return task

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> Any:
        """At once: what a thread does is one step here."""
        future = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:
            future.set_exception(error)
        return future

    def set_exception_handler(self, handler: Any) -> None:
        self._told = lambda context: handler(self, context)

    def call_exception_handler(self, context: dict[str, Any]) -> None:
        self._told(context)

    def is_running(self) -> bool:
        return events._get_running_loop() is self._as_loop

    def is_closed(self) -> bool:
        return False

    def get_debug(self) -> bool:
        return False


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
