"""Who may command a pod: the bearer of a short-lived token that the operator signed for this pod alone.

A token is a JWT (EdDSA) of audience `<namespace>/<pod>`. Pods hold public keys; several while keys are rotated.
"""

import base64
import binascii
import time
from collections.abc import Callable, Iterable

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ..contract.admin import TOKEN_ALGORITHM, TOKEN_ISSUER, TOKEN_SECONDS
from .problems import ApiError

CLOCK_SKEW_SECONDS = 5.0
"""How far the clocks of operator and pod may be apart."""
_CLAIMS = ["aud", "iss", "iat", "exp"]


class Unauthorized(ApiError):
    def __init__(self, detail: str) -> None:
        super().__init__(401, "unauthenticated", detail)


class TokenCheck:
    def __init__(self, public_keys: Iterable[str], audience: str, clock: Callable[[], float] = time.time) -> None:
        """public_keys: base64 of 32 bytes each; none = nobody may. Raises ValueError for one that is not a key."""
        self._keys = [_public_key(text) for text in public_keys]
        self._audience = audience
        self._clock = clock

    def __call__(self, authorization: str | None) -> None:
        """authorization: the header's value. Raises Unauthorized; the detail never repeats the token."""
        if not self._keys:
            raise Unauthorized("this pod was given no key of an operator: it takes no commands")
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            raise Unauthorized("this needs `Authorization: Bearer <token>`, a token signed by the operator")
        reason = ""
        for key in self._keys:
            try:
                self._verify(token.strip(), key)
            except jwt.InvalidTokenError as error:
                reason = reason or str(error)
                continue
            return
        raise Unauthorized(f"the token is not one for {self._audience}: {reason}")

    def _verify(self, token: str, key: Ed25519PublicKey) -> None:
        claims = jwt.decode(
            token,
            key,
            algorithms=[TOKEN_ALGORITHM],
            audience=self._audience,
            issuer=TOKEN_ISSUER,
            options={"require": _CLAIMS, "verify_exp": False, "verify_iat": False, "verify_nbf": False},
        )
        issued, expires = claims["iat"], claims["exp"]
        if type(issued) not in (int, float) or type(expires) not in (int, float):
            raise jwt.InvalidTokenError("iat and exp are not numbers")
        now = self._clock()
        if issued > now + CLOCK_SKEW_SECONDS:
            raise jwt.InvalidTokenError("it was issued in the future: the clocks differ")
        if now > min(expires, issued + TOKEN_SECONDS) + CLOCK_SKEW_SECONDS:
            raise jwt.InvalidTokenError("it has expired")


def _public_key(text: str) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(base64.b64decode(text, validate=True))
    except (binascii.Error, ValueError):
        raise ValueError("admin_public_keys takes base64 of the 32 bytes of Ed25519 public keys") from None
