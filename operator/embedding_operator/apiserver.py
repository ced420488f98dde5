"""`Kube` on a real API server, through the official client's asyncio transport, in plain JSON."""

import asyncio
import math
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
import orjson
from kubernetes.aio import config
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config.config_exception import ConfigException

from .kube import FIELD_MANAGER, Conflict, Fenced, KubeError, NotFound
from .metrics import API_CALLS
from .resources import Manifest, Resource

APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
NEVER_A_VERSION = "1"
"""A resourceVersion that no object has: apply then creates where nothing is, and answers 409 where something is."""
PAGE = 500
"""Objects of one answer; not where labels select a few: API servers before 1.34 read a limited list from etcd, all of it."""


async def connect(request_seconds: float, concurrency: int = 8) -> "ApiServer":
    """Connects as the pod's service account, or as the current context of a kubeconfig outside of a cluster.

    Raises KubeError where neither is there.
    """
    configuration = Configuration()
    try:
        config.load_incluster_config(client_configuration=configuration)
    except ConfigException:
        try:
            await config.load_kube_config(client_configuration=configuration)
        except ConfigException as error:
            raise KubeError(0, "NoConfig", f"neither a pod's service account nor a usable kubeconfig: {error}") from error
    configuration.connection_pool_maxsize = max(16, concurrency * 8)
    configuration.proxy = configuration.proxy or _proxy(configuration.host)
    configuration.client_session_kwargs = {"trust_env": False}
    return ApiServer(ApiClient(configuration), request_seconds)


def _proxy(url: str) -> str | None:
    """The environment's proxy for this URL. Asked once: aiohttp would ask, and read ~/.netrc, in two threads for every call."""
    parts = urlsplit(url)
    return None if proxy_bypass(parts.hostname or "") else getproxies().get(parts.scheme)


class ApiServer:
    """See `Kube`. `may_write` is asked before every write; a write after it says no raises `Fenced`."""

    def __init__(self, client: ApiClient, request_seconds: float) -> None:
        self._client = client
        self._client.user_agent = FIELD_MANAGER
        self._seconds = request_seconds
        self.may_write: Callable[[], bool] = lambda: True
        self._in_flight: set[asyncio.Future[Manifest]] = set()

    async def close(self) -> None:
        await self._client.close()

    async def get(self, resource: Resource, namespace: str, name: str) -> Manifest | None:
        try:
            return await self._call("GET", resource, resource.path(namespace, name))
        except NotFound:
            return None

    async def list(self, resource: Resource, namespace: str | None, labels: str = "", fields: str = "") -> list[Manifest]:
        items: list[Manifest] = []
        query = {"labelSelector": labels} if labels else {"limit": str(PAGE)}
        if fields:
            query["fieldSelector"] = fields
        while True:
            page = await self._call("GET", resource, resource.path(namespace), query)
            items += page.get("items", [])
            token = page.get("metadata", {}).get("continue")
            if not token:
                return items
            query["continue"] = token

    async def create(self, resource: Resource, manifest: Manifest) -> Manifest:
        return await self._apply(resource, manifest, {"resourceVersion": NEVER_A_VERSION})

    async def apply(self, resource: Resource, manifest: Manifest, uid: str) -> Manifest:
        return await self._apply(resource, manifest, {"uid": uid})

    async def _apply(self, resource: Resource, manifest: Manifest, precondition: dict[str, str]) -> Manifest:
        body = {
            "apiVersion": resource.api_version,
            "kind": resource.kind,
            **manifest,
            "metadata": manifest["metadata"] | precondition,
        }
        meta = manifest["metadata"]
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        return await self._write("PATCH", resource, resource.path(meta["namespace"], meta["name"]), query, body, APPLY)

    async def scale(self, resource: Resource, namespace: str, name: str, replicas: int) -> None:
        path = resource.path(namespace, name, "scale")
        query = {"fieldManager": f"{FIELD_MANAGER}-scale"}
        await self._write("PATCH", resource, path, query, {"spec": {"replicas": replicas}}, MERGE)

    async def delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        try:
            await self._write("DELETE", resource, resource.path(namespace, name), {}, body)
        except NotFound:
            return
        except Conflict:
            return  # the name belongs to another object by now

    async def apply_status(self, resource: Resource, manifest: Manifest) -> None:
        meta = manifest["metadata"]
        path = resource.path(meta["namespace"], meta["name"], "status")
        query = {"fieldManager": f"{FIELD_MANAGER}-status", "force": "true"}
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **manifest}
        await self._write("PATCH", resource, path, query, body, APPLY)

    async def post(self, resource: Resource, manifest: Manifest) -> Manifest:
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **manifest}
        return await self._write("POST", resource, resource.path(manifest["metadata"]["namespace"]), {}, body)

    async def put(self, resource: Resource, manifest: Manifest) -> Manifest:
        meta = manifest["metadata"]
        body = {"apiVersion": resource.api_version, "kind": resource.kind, **manifest}
        query = {"fieldManager": FIELD_MANAGER}
        return await self._write("PUT", resource, resource.path(meta["namespace"], meta["name"]), query, body)

    async def _write(
        self,
        method: str,
        resource: Resource,
        path: str,
        query: dict[str, str],
        body: Any,
        content_type: str = "application/json",
    ) -> Manifest:
        """A write that has begun is not cut off with its caller: nobody would know whether it lands, or when."""
        if not self.may_write():
            raise Fenced
        bounded = query | {"timeout": f"{math.ceil(self._seconds)}s"}
        call = asyncio.ensure_future(self._call(method, resource, path, bounded, body, content_type))
        self._in_flight.add(call)
        call.add_done_callback(self._in_flight.discard)
        return await asyncio.shield(call)

    async def quiet(self) -> None:
        """Waits for the writes that are under way; each has its deadline."""
        await asyncio.gather(*self._in_flight, return_exceptions=True)

    async def _call(
        self,
        method: str,
        resource: Resource,
        path: str,
        query: dict[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> Manifest:
        target = f"{path}?{urlencode(query)}" if query else path
        headers = {"Content-Type": content_type, "Accept": "application/json"}
        try:
            request = await self._client.param_serialize(
                method, target, header_params=headers, body=body, auth_settings=["BearerToken"]
            )
            response = await self._client.call_api(*request, _request_timeout=self._seconds)
            payload = await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError, ConfigException) as error:
            API_CALLS.labels(method, resource.plural, "none").inc()
            raise KubeError(0, type(error).__name__, f"{method} {path}: {error or type(error).__name__}") from error
        API_CALLS.labels(method, resource.plural, str(response.status)).inc()
        if response.status >= 300:
            raise _error(response.status, payload, f"{method} {path}")
        try:
            result: Manifest = orjson.loads(payload)
        except orjson.JSONDecodeError as error:
            raise KubeError(0, "NotJSON", f"{method} {path}: something other than the API server answered") from error
        return result


def _error(status: int, payload: bytes, call: str) -> KubeError:
    """A `Status` object as an exception; a body that is none (a proxy's page) is quoted."""
    try:
        said = orjson.loads(payload)
        reason, message = said.get("reason", ""), said.get("message", "")
    except (orjson.JSONDecodeError, AttributeError):
        reason, message = "", payload[:200].decode(errors="replace")
    kind = {404: NotFound, 409: Conflict}.get(status, KubeError)
    return kind(status, reason, f"{call}: {message}")
