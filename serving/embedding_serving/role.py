"""A role as a process: settings from the environment in, an exit code out, and the reason of a failure for the operator."""

import asyncio
import gc
import logging
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar
from weakref import WeakKeyDictionary

import uvloop
from pydantic import ValidationError

from .contract.reports import Outcome, Report
from .contract.settings import TERMINATION_PATH, RoleSettings, env_name
from .failure import StartFailed
from .http.server import Listener
from .logs import setup_logging

log = logging.getLogger(__name__)
Settings = TypeVar("Settings", bound=RoleSettings)


_stops: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Event] = WeakKeyDictionary()


def stop_event() -> asyncio.Event:
    """Set by SIGTERM and SIGINT; one for all roles of an event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _stops:
        _stops[loop] = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, _stops[loop].set)
    return _stops[loop]


def run_role(settings_type: Callable[[], Settings], serve: Callable[[Settings], Awaitable[int]]) -> int:
    """Runs `serve` until it returns its exit code; 1 where it raises, after a report in the termination message."""
    setup_logging(os.environ.get(env_name("log_level"), "INFO"))
    termination_path = os.environ.get(env_name("termination_path"), TERMINATION_PATH)
    try:
        settings = settings_type()  # from the environment
        setup_logging(settings.log_level)
        gc.freeze()  # what is loaded stays; to look through it for garbage would hold up every request for 60 ms and more
        code: int = uvloop.run(_awaited(serve(settings)))
        return code
    except ValidationError as error:
        faults = "; ".join(f"{env_name('.'.join(map(str, fault['loc'])))}: {fault['msg']}" for fault in error.errors())
        failure = StartFailed(Outcome.UNAVAILABLE, f"the settings of this pod cannot be read ({faults})")
    except StartFailed as error:
        failure = error
    except Exception as error:
        log.exception("unexpected failure")
        failure = StartFailed(Outcome.UNAVAILABLE, f"unexpected {type(error).__name__}: the log of this pod has the trace")
    _report(termination_path, failure)
    return 1


def listener(app: object, port: int, shutdown_seconds: float, host: str = "") -> Listener:
    """A bound port. Raises StartFailed where it is taken."""
    try:
        return Listener(app, port, shutdown_seconds, host)
    except OSError as error:
        raise StartFailed(Outcome.UNAVAILABLE, f"port {port}: {error.strerror}") from error


async def _awaited(work: Awaitable[int]) -> int:
    return await work


def _report(termination_path: str, failure: StartFailed) -> None:
    log.error("cannot serve: %s", failure.message, extra={"outcome": failure.outcome})
    report = Report(outcome=failure.outcome, message=failure.message)
    try:
        Path(termination_path).write_text(report.dump())
    except OSError as error:
        log.warning("no report for the operator", extra={"path": termination_path, "reason": error.strerror})
