"""The few calls that this folder itself makes to the host cluster's API server, without a kubectl process for each."""

from __future__ import annotations

import http.client
import json
import ssl
from collections.abc import Iterator
from typing import Any

from cluster import layout

_MERGE_PATCH = "application/merge-patch+json"


class KubeApi:
    """Speaks as one of the clients of `pki`. Errors are OSError and HTTPException: the server is away, or refuses."""

    def __init__(self, client: str = "admin") -> None:
        self._context = ssl.create_default_context(cafile=str(layout.PKI / "cluster-ca.crt"))
        self._context.load_cert_chain(layout.PKI / f"{client}.crt", layout.PKI / f"{client}.key")

    def get(self, path: str) -> dict[str, Any]:
        return self._call("GET", path)

    def merge(self, path: str, change: dict[str, Any]) -> dict[str, Any]:
        return self._call("PATCH", path, change)

    def watch(self, path: str, *, timeout_seconds: int = 300) -> Iterator[dict[str, Any]]:
        """The objects under `path`: first all that are there, then each as it changes, until the server ends it."""
        connection = self._connect(timeout_seconds + 30)
        try:
            connection.request("GET", f"{path}?watch=1&timeoutSeconds={timeout_seconds}")
            response = connection.getresponse()
            if response.status != 200:
                raise http.client.HTTPException(f"watch {path}: {response.status}")
            for line in response:
                event = json.loads(line)
                if event["type"] in ("ADDED", "MODIFIED"):
                    yield event["object"]
        finally:
            connection.close()

    def _connect(self, timeout_seconds: float) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(layout.NODE_IP, layout.API_PORT, timeout=timeout_seconds, context=self._context)

    def _call(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        connection = self._connect(10)
        try:
            connection.request(method, path, json.dumps(body) if body else None, {"Content-Type": _MERGE_PATCH} if body else {})
            response = connection.getresponse()
            answer: dict[str, Any] = json.loads(response.read() or b"{}")
            if response.status >= 300:
                raise http.client.HTTPException(f"{method} {path}: {response.status} {answer.get('message', '')}")
            return answer
        finally:
            connection.close()
