"""Listening sockets, the same for every port of every role."""

import contextlib
import socket


def listening_socket(host: str, port: int, backlog: int) -> socket.socket:
    """Without a host on every address, of both families where the kernel has both. Raises OSError where it is taken."""
    if host:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=backlog)
    if socket.has_dualstack_ipv6():
        with contextlib.suppress(OSError):
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=backlog)
    return socket.create_server(("", port), backlog=backlog)
