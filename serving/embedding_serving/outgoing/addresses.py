"""Where the pods behind a name are: every address of a headless Service, looked up again and again."""

import asyncio
import socket
from collections.abc import Awaitable, Callable

Address = tuple[str, int]
Resolve = Callable[[str, int], Awaitable[list[Address]]]

LOOKUP_SECONDS = 2.0


async def resolve(hosts: str, port: int) -> list[Address]:
    """Addresses of `hosts`: one name, or several separated by commas; each may carry a port of its own.

    What cannot be resolved has no address. Raises nothing: a name without pods is no error of DNS.
    """
    found: list[Address] = []
    for host in hosts.split(","):
        name, own_port = split_port(host.strip(), port)
        found += [address for address in await _lookup(name, own_port) if address not in found]
    return found


def split_port(host: str, port: int) -> Address:
    """`name`, `name:port`, `1.2.3.4:port`, `[::1]:port`, or a bare IPv6 address."""
    if host.startswith("["):
        name, _, rest = host[1:].partition("]")
        return name, int(rest[1:]) if rest.startswith(":") else port
    if host.count(":") == 1:
        name, _, given = host.partition(":")
        return name, int(given)
    return host, port


async def _lookup(name: str, port: int) -> list[Address]:
    try:
        async with asyncio.timeout(LOOKUP_SECONDS):
            found = await asyncio.get_running_loop().getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except (OSError, TimeoutError):
        return []
    return sorted({(str(address[0]), port) for *_, address in found})
