"""The search endpoint, as an application uses it: JSON over HTTP on a port of this machine."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from itertools import islice
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from corpus import Document

_TIMEOUT_SECONDS = 300
_LINES_AT_ONCE = 512


class AnswerError(Exception):
    """The service answered something else than was asked for. The message is one line."""


class Endpoint:
    def __init__(self, port: int) -> None:
        self._port = port

    def search(self, query: str, k: int = 3, **options: Any) -> list[dict[str, Any]]:
        """Hits, nearest first: id, score, text, metadata. Raises AnswerError."""
        answer = json.loads(self._post("/v1/search", json.dumps({"query": query, "k": k, **options})))
        return list(answer["hits"])

    def answered_by(self, query: str) -> int:
        """The generation that answers a search. Raises AnswerError."""
        return int(json.loads(self._post("/v1/search", json.dumps({"query": query, "k": 3})))["generation"])

    def put(self, document: Document) -> None:
        """Raises AnswerError."""
        self._post("/v1/documents", json.dumps({"documents": [asdict(document)]}))

    def count(self) -> int:
        return int(json.loads(self._post("/v1/count", "{}"))["count"])

    def load(self, documents: Iterable[Document], total: int, console: Console) -> int:
        """Stores documents, with a bar. Answers how many were refused. Raises AnswerError."""
        columns = (TextColumn("  documents"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        refused = 0
        with Progress(*columns, console=console) as bar:
            task = bar.add_task("", total=total)
            for part in _parts(iter(documents)):
                lines = "\n".join(json.dumps(asdict(document)) for document in part)
                answered = self._post("/v1/documents/bulk", lines, "application/x-ndjson")
                said = [json.loads(line) for line in answered.splitlines()]
                if not said or not said[-1].get("done"):
                    raise AnswerError(f"the load was cut short: {said[-1] if said else 'no answer'}")
                refused += int(said[-1]["failed"])
                bar.advance(task, len(part))
        return refused

    def _post(self, path: str, body: str, content_type: str = "application/json") -> str:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=_TIMEOUT_SECONDS)
        try:
            connection.request("POST", path, body.encode(), {"Content-Type": content_type})
            response = connection.getresponse()
            text = response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise AnswerError(f"no answer to POST {path}: {error or type(error).__name__}") from error
        finally:
            connection.close()
        if response.status != http.client.OK:
            raise AnswerError(f"POST {path} answered {response.status}: {' '.join(text.split())[:300]}")
        return text


def _parts(documents: Iterator[Document]) -> Iterator[list[Document]]:
    while part := list(islice(documents, _LINES_AT_ONCE)):
        yield part
