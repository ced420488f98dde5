"""Texts by relevance to a query: an optional last step that never makes a search fail."""

import logging
from collections.abc import Sequence

import aiohttp
import orjson

from ..outgoing.addresses import Resolve, resolve
from ..outgoing.deadline import Deadline
from ..outgoing.http_pods import HttpPods, NoAnswer

log = logging.getLogger(__name__)

PATH = "/rerank"


class Reranker:
    def __init__(
        self, base_url: str, timeout_seconds: float, session: aiohttp.ClientSession, look_up: Resolve = resolve
    ) -> None:
        self._pods = HttpPods(base_url, session, look_up)
        self._timeout_seconds = timeout_seconds

    async def order(
        self, query: str, texts: Sequence[str], deadline: Deadline, request_id: str
    ) -> list[tuple[int, float]] | None:
        """(index of the text, score), best first; None where the re-ranker did not answer well in time."""
        until = min(Deadline.after(self._timeout_seconds), deadline)
        body = orjson.dumps({"query": query, "texts": texts, "truncate": True})
        headers = {"content-type": "application/json", "x-request-id": request_id}
        try:
            answer = await self._pods.post(PATH, body, headers, until)
            if answer.status == 200:
                return _ranking(orjson.loads(answer.body), len(texts))
            reason = f"status {answer.status}"
        except (NoAnswer, ValueError, KeyError, TypeError) as error:
            reason = str(error)
        log.warning("not re-ranked", extra={"request_id": request_id, "reason": reason[:300]})
        return None


def _ranking(raw: object, count: int) -> list[tuple[int, float]]:
    if not isinstance(raw, list):
        raise TypeError("the answer is no list")
    ranking = [(int(one["index"]), float(one["score"])) for one in raw]
    if sorted(index for index, _ in ranking) != list(range(count)):
        raise ValueError("the answer does not rank each text once")
    return ranking
