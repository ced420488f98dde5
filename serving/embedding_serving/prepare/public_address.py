"""Keeps a URL that a user wrote from reaching the pod itself, its node, or a cloud's metadata service.

A name is resolved once, its addresses are checked, and the connection goes to a checked address: a name server that answers
differently the second time gains nothing. Redirects pass through here like first requests.
"""

import ipaddress
import socket
from collections.abc import Iterable

import httpx2

from .errors import SourceNotFoundError, UnavailableError

_METADATA = frozenset(
    ipaddress.ip_address(text) for text in ("169.254.169.254", "fd00:ec2::254", "100.100.100.200", "168.63.129.16")
)
_THIS_NETWORK = ipaddress.ip_network("0.0.0.0/8")
_NAT64 = ipaddress.ip_network("64:ff9b::/96")

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class PublicTransport(httpx2.BaseTransport):
    """Connects to allowed hosts, and of the others only to addresses outside of the node."""

    def __init__(self, allowed_hosts: Iterable[str]) -> None:
        self._allowed = frozenset(host.lower() for host in allowed_hosts)
        self._inner = httpx2.HTTPTransport()

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        """Raises SourceNotFoundError where the host is refused, UnavailableError where it has no address."""
        host = check_url(request.url, self._allowed)
        for address in (addresses := self._addresses(host, request.url.port)):
            pinned = httpx2.Request(
                request.method,
                request.url.copy_with(host=str(address)),
                headers=request.headers,
                stream=request.stream,
                extensions={**request.extensions, "sni_hostname": host},
            )
            try:
                return self._inner.handle_request(pinned)
            except httpx2.ConnectError:
                if address == addresses[-1]:
                    raise
        raise UnavailableError(f"host {host} has no address: check source.http.url")

    def close(self) -> None:
        self._inner.close()

    def _addresses(self, host: str, port: int | None) -> list[Address]:
        try:
            found = socket.getaddrinfo(host, port or 443, type=socket.SOCK_STREAM)
        except OSError:
            raise UnavailableError(f"host {host} can't be resolved: check source.http.url and the cluster's DNS") from None
        addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
        if host in self._allowed:
            return addresses
        public = [address for address in addresses if not forbidden(address)]
        if addresses and not public:
            raise SourceNotFoundError(
                f"host {host} resolves to {addresses[0]}, which is the pod, its node or a metadata service: sources there are "
                "refused. Serve the archive elsewhere, or add the host to the chart's list of allowed hosts"
            )
        return public


def check_url(url: httpx2.URL, allowed: frozenset[str]) -> str:
    """The host of an acceptable URL. Raises SourceNotFoundError."""
    host = url.host.lower().rstrip(".")
    if url.scheme not in ("http", "https") or not host:
        raise SourceNotFoundError(
            f"source.http.url, or a redirect of it, is no http or https URL but {url.scheme or 'nothing'!r}"
        )
    if url.userinfo:
        raise SourceNotFoundError("source.http.url holds a user name or password: remove it, a URL is no place for secrets")
    if allowed and host not in allowed:
        raise SourceNotFoundError(f"host {host} is not in the chart's list of allowed hosts ({', '.join(sorted(allowed))})")
    return host


def forbidden(address: Address) -> bool:
    """Loopback, link-local, multicast, unspecified or metadata, also when written as an IPv4 address inside IPv6."""
    if isinstance(address, ipaddress.IPv6Address):
        embedded = address.ipv4_mapped or address.sixtofour
        if embedded is None and address in _NAT64:
            embedded = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if embedded is not None:
            return forbidden(embedded)
    return (
        address.is_loopback
        or address.is_link_local
        or address.is_multicast
        or address.is_unspecified
        or address in _METADATA
        or (address.version == 4 and address in _THIS_NETWORK)
    )
