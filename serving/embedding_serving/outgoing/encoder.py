"""Texts -> vectors, by the encoder of one vector space and no other."""

import asyncio
import time
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Any, Protocol

import aiohttp
import numpy as np
import orjson
from numpy.typing import NDArray

from .addresses import Resolve, resolve
from .deadline import Deadline
from .failures import EncoderUnavailable, EncodingFailed, Moved, TextRefused
from .http_pods import HttpAnswer, HttpPods, NoAnswer

Vectors = NDArray[np.float32]

PATH = "/v1/embeddings"
FINGERPRINT_HEADER = "X-Embedding-Fingerprint"
TOKENS_HEADER = "X-Embedding-Tokens"
TEXTS_AT_ONCE = 64
BYTES_AT_ONCE = 1 << 20
TOO_MUCH_AT_ONCE = frozenset({"larger_than_queue", "too_many_texts", "body_too_large"})
FIRST_PAUSE_SECONDS = 0.05
LAST_PAUSE_SECONDS = 1.0


class InputType(StrEnum):
    QUERY = "query"
    DOCUMENT = "document"


class Priority(StrEnum):
    INTERACTIVE = "interactive"
    BULK = "bulk"


class VectorSpace(Protocol):
    """What makes vectors of a space, and how they are told from others. encoder: base URL. model: its name, for people."""

    @property
    def encoder(self) -> str | None: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def dimensions(self) -> int: ...
    @property
    def model(self) -> str | None: ...


Observe = Callable[[str, float], None]
"""Told of each call: the input type, and seconds."""


class Encoders:
    """One set of pods a base URL; a vector space names its own. tokens: what they have counted in all."""

    def __init__(self, session: aiohttp.ClientSession, observe: Observe, look_up: Resolve = resolve) -> None:
        self.tokens = 0
        self._session = session
        self._observe = observe
        self._look_up = look_up
        self._known: dict[str, HttpPods] = {}

    async def embed(
        self,
        space: VectorSpace,
        texts: Sequence[str],
        input_type: InputType,
        deadline: Deadline,
        request_id: str,
        priority: Priority = Priority.INTERACTIVE,
    ) -> Vectors:
        """float32 [len(texts), dimensions]. Raises TextRefused, EncoderUnavailable, Moved."""
        parts = _parts(texts)
        begun = time.perf_counter()
        if len(parts) == 1:
            vectors = await self._part(space, texts, 0, input_type, deadline, request_id, priority)
        else:
            tasks = [
                asyncio.ensure_future(self._part(space, texts[start:stop], start, input_type, deadline, request_id, priority))
                for start, stop in parts
            ]
            try:
                vectors = np.concatenate([await task for task in tasks])
            finally:
                for task in tasks:
                    task.cancel()
        self._observe(input_type, time.perf_counter() - begun)
        return vectors

    async def _part(
        self,
        space: VectorSpace,
        texts: Sequence[str],
        offset: int,
        input_type: InputType,
        deadline: Deadline,
        request_id: str,
        priority: Priority,
    ) -> Vectors:
        """offset: where `texts` begin among those of the request."""
        body = orjson.dumps({"input": texts, "input_type": input_type, "encoding_format": "base64"})
        headers = {
            "content-type": "application/json",
            "accept": "application/octet-stream",
            "x-embedding-priority": priority,
            "x-request-id": request_id,
        }
        pause = FIRST_PAUSE_SECONDS
        while True:
            answer = await self._post(space, body, headers, deadline)
            if answer.status == 200:
                counted = answer.headers.get(TOKENS_HEADER, "")
                self.tokens += int(counted) if counted.isdigit() else 0
                return _vectors(space, answer, len(texts))
            problem = _problem(answer)
            if answer.status == 413 and problem.get("code") in TOO_MUCH_AT_ONCE and len(texts) > 1:
                half = len(texts) // 2
                both = await asyncio.gather(
                    self._part(space, texts[:half], offset, input_type, deadline, request_id, priority),
                    self._part(space, texts[half:], offset + half, input_type, deadline, request_id, priority),
                )
                return np.concatenate(both)
            if _is_of_a_text(problem) or (answer.status == 413 and len(texts) == 1):
                raise TextRefused(offset + _index(problem), str(problem.get("code")), str(problem.get("detail")))
            detail = f"the encoder of {space.model} answered {answer.status}: {problem.get('detail', '')}"
            if answer.status == 500:
                raise EncodingFailed(detail)
            if answer.status not in (429, 503) or deadline.left() <= pause:
                raise EncoderUnavailable(detail, retry_after_seconds=_retry_after(answer))
            await asyncio.sleep(pause)
            pause = min(2 * pause, LAST_PAUSE_SECONDS)

    async def _post(self, space: VectorSpace, body: bytes, headers: dict[str, str], deadline: Deadline) -> HttpAnswer:
        url = space.encoder
        if url is None:
            raise EncoderUnavailable("this index has no model: vectors come from clients")
        pods = self._known.get(url)
        if pods is None:
            pods = self._known[url] = HttpPods(url, self._session, self._look_up)
        try:
            return await pods.post(PATH, body, headers, deadline)
        except NoAnswer as error:
            raise EncoderUnavailable(f"no encoder of {space.model} answered in time: {error}") from error


def _parts(texts: Sequence[str]) -> list[tuple[int, int]]:
    """(start, stop) of parts that one call takes."""
    parts: list[tuple[int, int]] = []
    start = size = 0
    for index, text in enumerate(texts):
        if index > start and (index - start == TEXTS_AT_ONCE or size + len(text) > BYTES_AT_ONCE):
            parts.append((start, index))
            start, size = index, 0
        size += len(text)
    return [*parts, (start, len(texts))]


def _vectors(space: VectorSpace, answer: HttpAnswer, count: int) -> Vectors:
    fingerprint = answer.headers.get(FINGERPRINT_HEADER, "none")
    if fingerprint != space.fingerprint:
        raise Moved(f"the encoder is of fingerprint {fingerprint}, not {space.fingerprint}")
    if len(answer.body) != 4 * count * space.dimensions:
        raise EncoderUnavailable(
            f"the encoder of {space.model} answered {len(answer.body)} bytes: {count} vectors of "
            f"{space.dimensions} dimensions are {4 * count * space.dimensions}"
        )
    return np.frombuffer(answer.body, dtype="<f4").reshape(count, space.dimensions)


def _problem(answer: HttpAnswer) -> dict[str, Any]:
    try:
        problem = orjson.loads(answer.body)
    except orjson.JSONDecodeError:
        return {}
    return problem if isinstance(problem, dict) else {}


def _is_of_a_text(problem: dict[str, Any]) -> bool:
    """Whether one of the texts is at fault, and not the call: then every other text would be refused, too."""
    return str(problem.get("field", "")).partition("[")[0] == "input"


def _index(problem: dict[str, Any]) -> int:
    """Of the text that `field` (`input[3]`) names; the first where it names none."""
    number = str(problem.get("field", "")).partition("[")[2].rstrip("]")
    return int(number) if number.isdigit() else 0


def _retry_after(answer: HttpAnswer) -> int:
    given = answer.headers.get("Retry-After", "")
    return int(given) if given.isdigit() else 1
