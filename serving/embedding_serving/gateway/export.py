"""Every document that a filter matches, as NDJSON, page by page: as fast as the client reads, in bounded memory."""

import orjson

from ..http.problems import ApiError
from ..outgoing.deadline import Deadline
from .errors import error_of
from .gate import Call
from .hits import listed
from .members import check_members, read_filter, read_include, read_string
from .reads import Page
from .service import Service

NDJSON = b"application/x-ndjson"
MAX_BODY_BYTES = 1 << 20
PAGE_SECONDS = 30.0
SEND_SECONDS = 60.0


class Export:
    def __init__(self, service: Service) -> None:
        self._service = service

    async def stream(self, call: Call) -> None:
        """One document a line. What fails after the first page is told in a last line, with the cursor to go on from."""
        exchange = call.exchange
        raw = await exchange.body(min(MAX_BODY_BYTES, self._service.settings.max_body_bytes))
        body = Call(exchange, call.principal, call.parameters, raw).body()
        check_members(body, {"filter", "include", "cursor"})
        filter_, include, cursor = read_filter(body), read_include(body), read_string(body, "cursor")
        pages = self._service.reads.export(filter_, cursor, include, lambda: Deadline.after(PAGE_SECONDS))
        try:
            while True:
                try:
                    page: Page | None = await anext(pages, None)
                except Exception as failure:
                    error = error_of(failure)
                    if error is None or exchange.status is None:
                        raise
                    await exchange.send_part(_last_line(error, cursor), SEND_SECONDS)
                    break
                if exchange.status is None:
                    await exchange.begin(NDJSON)
                if page is None:
                    break
                lines = [orjson.dumps(listed(one, include, page.fingerprint)) for one in page.documents]
                if lines:
                    await exchange.send_part(b"\n".join(lines) + b"\n", SEND_SECONDS)
                cursor = page.cursor
        finally:
            await pages.aclose()
        await exchange.end()


def _last_line(error: ApiError, cursor: str | None) -> bytes:
    return orjson.dumps({"error": {"code": error.code, "detail": error.detail}, "cursor": cursor}) + b"\n"
