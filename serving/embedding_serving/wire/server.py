"""The listening side: accepts connections, knows them, and lets them finish when it stops."""

import asyncio
import contextlib
from collections.abc import Mapping

from ..listen import listening_socket
from .calls import Handler, Observer
from .codec import Limits
from .protocol import ServerConnection

BACKLOG = 1_024
MAX_CONNECTIONS = 1_024


class FrameServer:
    """One port. `handlers` by op; one of them is `hello`. Raises OSError where the port is taken."""

    def __init__(
        self,
        handlers: Mapping[str, Handler],
        port: int,
        *,
        host: str = "",
        limits: Limits | None = None,
        max_connections: int = MAX_CONNECTIONS,
        observe: Observer | None = None,
    ) -> None:
        self._handlers = handlers
        self._limits = limits or Limits()
        self._max_connections = max_connections
        self._observe = observe
        self._connections: set[ServerConnection] = set()
        self._server: asyncio.Server | None = None
        self._socket = listening_socket(host, port, BACKLOG)
        self.port: int = self._socket.getsockname()[1]

    @property
    def connections(self) -> int:
        return len(self._connections)

    @property
    def calls(self) -> int:
        """Calls that are being answered or wait for it."""
        return sum(connection.calls for connection in self._connections)

    async def start(self) -> None:
        self._server = await asyncio.get_running_loop().create_server(self._connection, sock=self._socket)

    async def stop(self, grace_seconds: float) -> None:
        """Accepts nothing more; what runs is answered within the grace, then every connection is closed."""
        if self._server is None:
            self._socket.close()
            return
        self._server.close()
        for connection in list(self._connections):
            connection.finish()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_seconds):
                await asyncio.gather(*(connection.closed.wait() for connection in list(self._connections)))
        for connection in list(self._connections):
            connection.abort()
        await self._server.wait_closed()

    def _connection(self) -> ServerConnection:
        crowded = len(self._connections) >= self._max_connections
        return ServerConnection(self._handlers, self._limits, self._connections, self._observe, crowded=crowded)
