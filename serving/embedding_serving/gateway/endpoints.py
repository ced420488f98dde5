"""Hot routes: a request's members in, an answer's bytes out."""

import time
from collections.abc import Mapping
from typing import Any

import orjson

from ..contract.admin import Refusal
from ..http.body import read_choice
from ..http.exchange import Header
from ..http.problems import ApiError, invalid
from .bulk import PARAMETERS as BULK_PARAMETERS
from .bulk import Bulk
from .cache import cache_key
from .document_request import Change, parse_delete, parse_deletes, parse_documents, parse_patch
from .export import Export
from .gate import DOCUMENTS, Answer, Call, HotRoute, json_answer
from .hits import listed, shown
from .keys import Role
from .members import check_id, check_members, read_filter, read_include, read_number, read_string
from .position import HEADER as POSITION_HEADER
from .position import Positions, to_token
from .reads import MAX_PAGE
from .search import Found, Hits
from .search_request import CONSISTENCIES, parse_search, parse_searches
from .service import Service
from .writes import Written

DEFAULT_PAGE = 100
DEFAULT_VALUES = 20
MAX_VALUES = 1_000
CACHE_HEADER = b"x-cache"
REUSED = Refusal.IDEMPOTENCY_KEY_REUSED.value


class Endpoints:
    def __init__(self, service: Service) -> None:
        self._service = service

    def routes(self) -> list[HotRoute]:
        read, write = Role.READ, Role.WRITE
        by_id = DOCUMENTS + "{id}"
        return [
            HotRoute("POST", "/v1/search", read, self.search),
            HotRoute("POST", "/v1/search/batch", read, self.search_batch),
            HotRoute("POST", "/v1/documents", write, self.upsert),
            HotRoute("POST", "/v1/documents/bulk", write, stream=Bulk(self._service).stream, parameters=BULK_PARAMETERS),
            HotRoute("POST", "/v1/documents/delete", write, self.delete_many),
            HotRoute("POST", "/v1/documents/scroll", read, self.scroll),
            HotRoute("POST", "/v1/documents/export", read, stream=Export(self._service).stream),
            HotRoute("GET", by_id, read, self.get, parameters=("include", "consistency")),
            HotRoute("PATCH", by_id, write, self.patch),
            HotRoute("DELETE", by_id, write, self.delete, parameters=("if_version",)),
            HotRoute("POST", "/v1/count", read, self.count),
            HotRoute("POST", "/v1/facet", read, self.facet),
        ]

    async def search(self, call: Call) -> Answer:
        return await self._searched(call, "/v1/search", batch=False)

    async def search_batch(self, call: Call) -> Answer:
        return await self._searched(call, "/v1/search/batch", batch=True)

    async def _searched(self, call: Call, path: str, *, batch: bool) -> Answer:
        begun = time.perf_counter()
        service = self._service
        context = service.search_context(call)
        cacheable = service.cache.on and not context.tokens and service.routes.current is not None
        key, generation = b"", None
        if cacheable:
            pin = service.routes.readable()
            generation = pin.generation
            key = cache_key(path, call.raw, pin, service.fleet.shards(generation).positions())
            known = await service.cache.get(key)
            if known is not None:
                return self._timed(known, begun, [(CACHE_HEADER, b"hit")])
        body = call.body()
        searches = parse_searches(body, service.limits) if batch else [parse_search(body, service.limits)]
        found, fallback = await service.find(searches, context)
        answer = orjson.dumps(_found(found, fallback, batch=batch))
        if found.failed:
            service.metrics.partial.inc()
        for one in found.results:
            if one.reranked is not None:
                service.metrics.reranked(done=one.reranked)
        whole = fallback is None and not found.failed and all(one.reranked is not False for one in found.results)
        if not cacheable or not whole or any(search.strong for search in searches):
            return self._timed(answer, begun, [])
        if found.generation is generation:
            service.cache.put(key, answer)
        return self._timed(answer, begun, [(CACHE_HEADER, b"miss")])

    def _timed(self, answer: bytes, begun: float, headers: list[Header]) -> Answer:
        """Puts `took_ms` at the end: what is cached has none."""
        seconds = time.perf_counter() - begun
        self._service.metrics.search_latency.observe(seconds)
        self._service.metrics.recent_latency.add(seconds)
        return Answer(b'%b,"took_ms":%.3f}' % (answer[:-1], 1000 * seconds), headers)

    async def upsert(self, call: Call) -> Answer:
        changes = await parse_documents(call.body(), self._service.limits.max_batch)
        request = self._service.write_request(call, "put")
        written = await self._service.writes.apply(changes, request)
        return _several(written)

    async def patch(self, call: Call) -> Answer:
        change = parse_patch(call.id, call.body())
        written = await self._service.writes.apply([change], self._service.write_request(call, "patch"))
        return _one(written)

    async def delete(self, call: Call) -> Answer:
        change = parse_delete(call.id, call.parameters.get("if_version"))
        written = await self._service.writes.apply([change], self._service.write_request(call, "delete"))
        return _one(written, _deleted)

    async def delete_many(self, call: Call) -> Answer:
        body = call.body()
        check_members(body, {"ids", "filter"})
        if ("ids" in body) == ("filter" in body):
            raise invalid("ids", "a delete takes ids or filter: one of the two")
        request = self._service.write_request(call, "delete")
        if "ids" in body:
            changes: list[Change] = parse_deletes(body, self._service.limits.max_batch)
            written = await self._service.writes.apply(changes, request)
            return _several(written, _deleted)
        filter_ = read_filter(body)
        if filter_ is None or not filter_.canonical():
            raise invalid("filter", "an empty filter matches every document: name a condition")
        deleted, position = await self._service.writes.delete_matching(filter_, request)
        return _written({"deleted": deleted}, position)

    async def get(self, call: Call) -> Answer:
        given = call.parameters
        include = read_include({"include": given["include"].split(",")} if "include" in given else {})
        strong = read_choice(given, "consistency", CONSISTENCIES) == "strong"
        request = self._service.read_request(call, strong=strong)
        stored = await self._service.reads.get(check_id(call.id, "id"), include, request)
        if stored is None:
            raise ApiError(404, "not_found", f"there is no document {call.id[:200]!r}")
        return json_answer(shown(stored, include))

    async def scroll(self, call: Call) -> Answer:
        body = call.body()
        check_members(body, {"filter", "cursor", "limit", "include", "consistency"})
        include = read_include(body)
        limit = read_number(body, "limit", default=DEFAULT_PAGE, most=MAX_PAGE)
        request = self._service.read_request(call, strong=_strong(body))
        page = await self._service.reads.scroll(read_filter(body), read_string(body, "cursor"), limit, include, request)
        documents = [listed(one, include, page.fingerprint) for one in page.documents]
        return json_answer({"documents": documents, "cursor": page.cursor})

    async def count(self, call: Call) -> Answer:
        body = call.body()
        check_members(body, {"filter", "consistency"})
        request = self._service.read_request(call, strong=_strong(body))
        return json_answer({"count": await self._service.reads.count(read_filter(body), request)})

    async def facet(self, call: Call) -> Answer:
        body = call.body()
        check_members(body, {"field", "filter", "limit", "consistency"})
        field = read_string(body, "field")
        if field is None:
            raise invalid("field", "field is missing: it takes the name of a member of the metadata")
        limit = read_number(body, "limit", default=DEFAULT_VALUES, most=MAX_VALUES)
        request = self._service.read_request(call, strong=_strong(body))
        values = await self._service.reads.facet(field, read_filter(body), limit, request)
        return json_answer({"field": field, "values": [{"value": value, "count": count} for value, count in values]})


def _found(found: Found, fallback: str | None, *, batch: bool) -> dict[str, Any]:
    generation = found.generation
    failed = len(found.failed)
    answer: dict[str, Any] = {"results": [_hits(one) for one in found.results]} if batch else _hits(found.results[0])
    answer["generation"] = generation.generation
    if generation.model is not None:
        answer["model"] = generation.model
    total = generation.shards
    answer["shards"] = {"total": total, "ok": total - failed, "failed": failed}
    if fallback is not None:
        answer |= {"fallback": True, "index": fallback}
    return answer


def _hits(one: Hits) -> dict[str, Any]:
    return {"hits": one.hits} if one.reranked is None else {"hits": one.hits, "reranked": one.reranked}


def _strong(body: Mapping[str, Any]) -> bool:
    return read_choice(dict(body), "consistency", CONSISTENCIES) == "strong"


def _written(answer: dict[str, Any], position: Positions) -> Answer:
    token = to_token(position)
    return json_answer(answer | {"position": token}, [(POSITION_HEADER, token.encode())])


def _several(written: Written, shown_as: Any = dict) -> Answer:
    """Raises ApiError where the request as a whole bears the key of another."""
    errors = [result["error"] for result in written.results if "error" in result]
    if len(errors) == len(written.results) and all(error["code"] == REUSED for error in errors):
        raise ApiError(409, REUSED, errors[0]["detail"])
    return _written({"results": [shown_as(result) for result in written.results]}, written.position)


def _one(written: Written, shown_as: Any = dict) -> Answer:
    """Of a single document: its error is the answer's."""
    (result,) = written.results
    if "error" in result:
        error = result["error"]
        status = {"not_found": 404, "version_conflict": 409, REUSED: 409}.get(error["code"], 400)
        raise ApiError(status, error["code"], error["detail"])
    return _written(shown_as(result), written.position)


def _deleted(result: dict[str, Any]) -> dict[str, Any]:
    if "error" in result:
        return result
    return {"id": result["id"], "deleted": result.get("version") is not None} | (
        {"version": result["version"]} if result.get("version") else {}
    )
