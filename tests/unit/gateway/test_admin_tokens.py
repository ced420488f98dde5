import base64
import time
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from embedding_serving.contract.admin import TOKEN_ALGORITHM, TOKEN_ISSUER, TOKEN_SECONDS, audience
from embedding_serving.http.admin_tokens import CLOCK_SKEW_SECONDS, TokenCheck, Unauthorized

POD = audience("shop", "docs-g1-s0-0")
KEY = Ed25519PrivateKey.generate()
OTHER = Ed25519PrivateKey.generate()
NOW = time.time()


def public(key: Ed25519PrivateKey) -> str:
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def token(key: Ed25519PrivateKey = KEY, **changed: Any) -> str:
    claims = {"iss": TOKEN_ISSUER, "aud": POD, "iat": NOW, "exp": NOW + TOKEN_SECONDS} | changed
    return "Bearer " + jwt.encode({k: v for k, v in claims.items() if v is not None}, key, TOKEN_ALGORITHM)


def check(*keys: Ed25519PrivateKey, now: float = NOW) -> TokenCheck:
    return TokenCheck([public(key) for key in keys or (KEY,)], POD, clock=lambda: now)


def test_the_operators_token_for_this_pod_is_taken_while_it_is_fresh() -> None:
    check()(token())
    check(now=NOW + TOKEN_SECONDS)(token())


def test_while_keys_are_rotated_either_is_taken() -> None:
    for key in (KEY, OTHER):
        check(OTHER, KEY)(token(key))


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        "Bearer x.y.z",
        "Basic " + token().removeprefix("Bearer "),
        token(OTHER),
        token(aud=audience("shop", "docs-g1-s1-0")),
        token(aud=None),
        token(iss="somebody"),
        token(iss=None),
        token(exp=None),
        token(iat=None),
        token(iat=NOW + CLOCK_SKEW_SECONDS + 1),
        "Bearer " + jwt.encode({"iss": TOKEN_ISSUER, "aud": POD, "iat": NOW, "exp": NOW + 60}, "x" * 32, "HS256"),
        "Bearer " + jwt.encode({"iss": TOKEN_ISSUER, "aud": POD, "iat": NOW, "exp": NOW + 60}, "", "none"),
    ],
)
def test_anything_else_is_refused(header: str | None) -> None:
    with pytest.raises(Unauthorized) as refused:
        check()(header)
    assert refused.value.status == 401
    if header and len(header) > 20:
        assert header.split()[-1] not in refused.value.detail


def test_a_token_does_not_outlive_its_minute_whatever_it_says_itself() -> None:
    old = check(now=NOW + TOKEN_SECONDS + CLOCK_SKEW_SECONDS + 1)
    with pytest.raises(Unauthorized, match="expired"):
        old(token(exp=NOW + 86_400))


def test_a_pod_without_keys_obeys_nobody() -> None:
    with pytest.raises(Unauthorized, match="no key"):
        TokenCheck([], POD)(token())


def test_a_key_that_is_none_is_named_at_the_start() -> None:
    with pytest.raises(ValueError, match="admin_public_keys"):
        TokenCheck(["bm90IGEga2V5"], POD)
