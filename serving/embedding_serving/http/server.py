"""Sockets, connections and their end.

A pod that is told to stop stays in Services for a moment: readiness turns false at once, yet connections are accepted
until the endpoints have forgotten it. Answers ask clients to close meanwhile, so that they find another pod. Then the
listening sockets close, and what runs is finished.
"""

import asyncio
import contextlib
from collections import deque
from collections.abc import Iterator
from typing import Any

import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from ..listen import listening_socket
from .exchange import INCOMING, Incoming

KEEP_ALIVE_SECONDS = 75
"""Longer than clients and proxies keep idle connections, so that they are the ones to close."""
HEADER_SECONDS = 20.0
MAX_HEADER_BYTES = 65_536
BACKLOG = 2_048


class Connection(HttpToolsProtocol):
    """uvicorn's protocol, bounded in what it accepts before there is a request.

    A connection that sends its headers forever, or endlessly many, is closed; one that is in the middle of them when
    the server stops is still served.
    """

    header_seconds = HEADER_SECONDS

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._header_timer: asyncio.TimerHandle | None = None
        self._header_bytes = 0
        self._in_headers = False
        self._last_request = False
        self._arriving = Incoming()
        self._unanswered: deque[Incoming] = deque()

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        if self._in_headers:
            self._header_bytes += len(data)
        super().data_received(data)
        if not self._in_headers:
            return
        if self._header_bytes > MAX_HEADER_BYTES:
            self.transport.close()
        elif self._header_timer is None:
            self._await_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._in_headers = True
        self._stop_timer()
        self._arriving = self.scope[INCOMING] = Incoming()  # type: ignore[literal-required]
        self._unanswered.append(self._arriving)

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._arriving.whole = True
        if len(self._unanswered) == 1:  # a large body has paused it, and only who reads sees that a client leaves
            self.flow.resume_reading()

    def on_response_complete(self) -> None:
        self._unanswered.popleft()
        super().on_response_complete()

    def on_headers_complete(self) -> None:
        self._in_headers = False
        self._header_bytes = 0
        self._stop_timer()
        super().on_headers_complete()
        if self._last_request:
            self.cycle.keep_alive = False

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)
        for incoming in self._unanswered:
            incoming.lost = True
            if incoming.on_lost is not None:
                incoming.on_lost()

    def shutdown(self) -> None:
        if self._in_headers:
            self._last_request = True
        else:
            super().shutdown()

    def _await_headers(self) -> None:
        self._stop_timer()
        self._header_timer = self.loop.call_later(self.header_seconds, self.transport.close)

    def _stop_timer(self) -> None:
        if self._header_timer is not None:
            self._header_timer.cancel()
            self._header_timer = None


class Listener(uvicorn.Server):
    """One port. Signals are the caller's: two servers run in this process and stop in order."""

    def __init__(self, app: Any, port: int, shutdown_seconds: float, host: str = "") -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=Connection,
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=KEEP_ALIVE_SECONDS,
                timeout_graceful_shutdown=max(1, round(shutdown_seconds)),
                backlog=BACKLOG,
            )
        )
        self._socket = listening_socket(host, port, BACKLOG)
        self.port: int = self._socket.getsockname()[1]
        self._serving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    def start(self) -> None:
        self._serving = asyncio.create_task(self.serve(sockets=[self._socket]))

    async def stop(self) -> None:
        """Accepts nothing more and returns when what runs is answered, or the time for it is over."""
        self.should_exit = True
        if self._serving is not None:
            await self._serving
