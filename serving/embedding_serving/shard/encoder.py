"""The encoder of this shard's own vector space, for documents that come without a vector of it."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import aiohttp

from ..outgoing.deadline import Deadline
from ..outgoing.encoder import Encoders, InputType, Priority
from ..outgoing.failures import EncoderUnavailable, EncodingFailed, Moved
from ..outgoing.failures import TextRefused as NotTaken
from .embedding import Embedded, FailedOnThem, NotNow, TextRefused
from .store.records import Identity

CALL_SECONDS = 30.0
"""For a piece of texts, waits for a busy encoder included; where nobody answers, it is said after so long."""


@dataclass(frozen=True, slots=True)
class OwnSpace:
    """The shard's vector space, as the encoder at this address has to have it."""

    encoder: str
    fingerprint: str
    dimensions: int

    @property
    def model(self) -> str:
        return self.encoder


class EncoderCalls:
    """Belongs to the event loop."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity
        self._session = aiohttp.ClientSession()
        self._encoders = Encoders(self._session, lambda _, __: None)
        self._told = 0

    async def close(self) -> None:
        await self._session.close()

    async def __call__(self, encoder: str, texts: Sequence[str]) -> Embedded:
        space = OwnSpace(encoder, self._identity.fingerprint, self._identity.dimensions)
        try:
            vectors = await self._encoders.embed(
                space, texts, InputType.DOCUMENT, Deadline.after(CALL_SECONDS), secrets.token_hex(8), Priority.BULK
            )
        except NotTaken as error:
            raise TextRefused(error.index, f"{error.code}: {error.detail}") from error
        except EncodingFailed as error:
            raise FailedOnThem(error.detail) from error
        except (EncoderUnavailable, Moved) as error:
            raise NotNow(error.detail) from error
        tokens, self._told = self._encoders.tokens - self._told, self._encoders.tokens
        return Embedded(vectors, tokens)
