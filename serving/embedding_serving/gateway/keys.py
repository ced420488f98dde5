"""API keys: who asks, and what they may do.

A key is `eo_<id>_<43 characters>`. The directory holds a file a key, named by its id, with the SHA-256 of the whole key:
`{"sha256": "<64 hex digits>", "role": "Read|Write|Admin", "notAfter": "2027-01-01T00:00:00Z"}`. Files are read again as
they change, so that keys are rotated without a restart. Keys never appear in logs; their ids do.
"""

import asyncio
import hashlib
import hmac
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import IntEnum
from pathlib import Path
from typing import Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from ..http.problems import ApiError

log = logging.getLogger(__name__)

POLL_SECONDS = 2.0
MAX_FILE_BYTES = 4_096
_KEY = re.compile(r"eo_([A-Za-z0-9][A-Za-z0-9._-]{0,62})_([A-Za-z0-9_-]{43})")
_NOBODY = "0" * 64


class Role(IntEnum):
    """Each may do what those before it may."""

    READ = 1
    WRITE = 2
    ADMIN = 3


class KeyFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    sha256: str = Field(pattern="^[0-9a-fA-F]{64}$")
    role: Literal["Read", "Write", "Admin"]
    not_after: AwareDatetime | None = Field(default=None, alias="notAfter")


@dataclass(frozen=True, slots=True)
class Principal:
    """key_id: None where the service is open to all."""

    key_id: str | None
    role: Role


OPEN = Principal(None, Role.ADMIN)


class ApiKeys:
    def __init__(self, directory: Path | None, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """directory: None = open to all."""
        self._directory = directory
        self._clock = clock
        self._keys: dict[str, KeyFile] = {}
        self._raw: dict[str, bytes] = {}

    @property
    def known(self) -> int | None:
        """Number of keys; None where the service is open to all."""
        return None if self._directory is None else len(self._keys)

    def principal(self, headers: Mapping[bytes, bytes]) -> Principal:
        """Raises ApiError 401. The key comes as `Authorization: Bearer` or `X-API-Key`."""
        if self._directory is None:
            return OPEN
        given = _given(headers)
        match = _KEY.fullmatch(given)
        known = self._keys.get(match[1]) if match else None
        digest = hashlib.sha256(given.encode()).hexdigest()
        equal = hmac.compare_digest(digest, known.sha256.lower() if known else _NOBODY)
        if not given:
            raise _unauthenticated("this needs an API key: `Authorization: Bearer eo_...`")
        if match is None or known is None or not equal:
            raise _unauthenticated("the API key is not known here")
        if known.not_after is not None and self._clock() >= known.not_after:
            raise _unauthenticated(f"the API key {match[1]!r} has expired")
        return Principal(match[1], Role[known.role.upper()])

    async def watch(self) -> None:
        """Follows the directory until it is cancelled."""
        while True:
            await asyncio.sleep(POLL_SECONDS)
            await self.read()

    async def read(self) -> None:
        if self._directory is not None:
            self._take(await asyncio.to_thread(_contents, self._directory))

    def _take(self, raw: dict[str, bytes]) -> None:
        if raw == self._raw:
            return
        keys: dict[str, KeyFile] = {}
        for key_id, content in raw.items():
            try:
                keys[key_id] = KeyFile.model_validate_json(content)
            except ValidationError as error:
                faults = [".".join(map(str, fault["loc"])) or "JSON" for fault in error.errors()]
                log.error("an API key's file cannot be read: the key is refused", extra={"key": key_id, "faults": faults})
        self._raw, self._keys = raw, keys
        log.info("API keys", extra={"keys": sorted(keys)})


def check_role(principal: Principal, needed: Role) -> None:
    """Raises ApiError 403."""
    if principal.role < needed:
        detail = (
            f"the API key {principal.key_id!r} has the role {principal.role.name.title()}: this needs {needed.name.title()}"
        )
        raise ApiError(403, "forbidden", detail)


def _given(headers: Mapping[bytes, bytes]) -> str:
    authorization = headers.get(b"authorization", b"").decode("latin-1")
    kind, _, token = authorization.partition(" ")
    return token.strip() if kind.lower() == "bearer" else headers.get(b"x-api-key", b"").decode("latin-1").strip()


def _unauthenticated(detail: str) -> ApiError:
    return ApiError(401, "unauthenticated", detail)


def _contents(directory: Path) -> dict[str, bytes]:
    """Files by name. A mounted Secret has links to a hidden directory; what begins with a dot is not a key."""
    found: dict[str, bytes] = {}
    try:
        paths = sorted(directory.iterdir())
    except OSError:
        return found
    for path in paths:
        if path.name.startswith("."):
            continue
        try:
            if path.is_file():
                with path.open("rb") as file:
                    found[path.name] = file.read(MAX_FILE_BYTES)
        except OSError:
            continue
    return found
