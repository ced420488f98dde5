"""What the operator does for a lone generation: admits the shard, and writes the route."""

import asyncio
import base64
import time
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ..contract.admin import (
    ADMIN_PATH,
    SHARD_INFO_PATH,
    TOKEN_ALGORITHM,
    TOKEN_ISSUER,
    TOKEN_SECONDS,
    Mode,
    ShardInfo,
    Unfence,
    audience,
)
from ..contract.reports import Outcome
from ..contract.route import ROUTE_KEY, GenerationRoute, Phase, Route
from ..failure import StartFailed

LOOK_SECONDS = 0.05


class Commander:
    """The one who may command the shard of this process: its key lives as long as the process."""

    def __init__(self, namespace: str, pod: str) -> None:
        self._key = Ed25519PrivateKey.generate()
        self._audience = audience(namespace, pod)

    @property
    def public_key(self) -> str:
        return base64.b64encode(self._key.public_key().public_bytes_raw()).decode()

    def bearer(self) -> dict[str, str]:
        now = int(time.time())
        claims = {"iss": TOKEN_ISSUER, "aud": self._audience, "iat": now, "exp": now + TOKEN_SECONDS}
        return {"Authorization": f"Bearer {jwt.encode(claims, self._key, algorithm=TOKEN_ALGORITHM)}"}


@dataclass(frozen=True, slots=True)
class Admin:
    """The admin port of the shard of this process."""

    session: aiohttp.ClientSession
    url: str
    commander: Commander

    async def ready(self) -> ShardInfo:
        """What the shard says of itself once it serves. Raises StartFailed where it never will."""
        while True:
            try:
                async with self.session.get(f"{self.url}{SHARD_INFO_PATH}") as answer:
                    if answer.status == 200:
                        info = ShardInfo.model_validate_json(await answer.read())
                        if info.fault == "corrupt":
                            raise StartFailed(Outcome.UNAVAILABLE, info.message or "the database is damaged")
                        if info.ready:
                            return info
            except aiohttp.ClientConnectionError:
                pass
            await asyncio.sleep(LOOK_SECONDS)

    async def admit(self, info: ShardInfo) -> int:
        """Opens a shard that takes no writes yet; answers the epoch that it is open at."""
        if info.mode is Mode.OPEN:
            return info.epoch
        message = Unfence(epoch=info.epoch + 1, history=info.history)
        async with self.session.post(
            f"{self.url}{ADMIN_PATH}/unfence", data=message.model_dump_json(), headers=self.commander.bearer()
        ) as answer:
            if answer.status != 200:
                raise StartFailed(Outcome.UNAVAILABLE, f"the shard was not admitted: {await answer.text()}")
        return message.epoch


def write_route(directory: Path, index: str, namespace: str, generation: GenerationRoute, epoch: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    route = Route(
        index=index,
        namespace=namespace,
        seq=epoch,
        epoch=epoch,
        phase=Phase.STABLE,
        writer=generation.generation,
        weights={generation.generation: 100},
        next_generation=generation.generation + 1,
        generations=(generation,),
    )
    (directory / ROUTE_KEY).write_text(route.model_dump_json())
