"""Tokens of an identity provider: issuer, audience, time and signature, by its published keys."""

import asyncio
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any, Final

import httpx
import jwt
import structlog

from streamapp.api.access import Caller, Scope
from streamapp.api.problems import Problem
from streamapp.api.settings import JwtSettings

log = structlog.get_logger()

#: Keys are fetched anew after this, so that one the provider withdrew does not open for ever.
_FRESH_S: Final = 600.0
#: Between two fetches, whatever tokens ask for: unknown key ids cost nobody anything.
_REFETCH_S: Final = 10.0
#: While the provider is away its last keys hold this long.
_STALE_S: Final = 86_400.0
_FETCH_TIMEOUT_S: Final = 5.0
_JWKS_BYTES_MAX: Final = 256 * 1024
_TOKEN_CHARS_MAX: Final = 8 * 1024
_SUBJECT_CHARS_MAX: Final = 128

Fetch = Callable[[], Awaitable[bytes]]


class TokenVerifier:
    """Callers by their tokens. Used from one event loop."""

    def __init__(self, settings: JwtSettings, fetch: Fetch, clock_s: Callable[[], float]) -> None:
        self._settings = settings
        self._fetch = fetch
        self._clock_s = clock_s
        self._algorithms = settings.algorithms.split(",")
        self._keys: dict[str, jwt.PyJWK] = {}
        self._fetched_s = -_STALE_S
        self._tried_s = -_STALE_S
        self._lock = asyncio.Lock()

    async def caller(self, token: str) -> Caller | None:
        """Whom the token lets in; None where anything is wrong with it.

        Raises Problem (503) where the provider's keys can't be had.
        """
        key = await self._key(token)
        if key is None:
            return None
        try:
            claims = jwt.decode(
                token,
                key,
                algorithms=self._algorithms,
                issuer=self._settings.issuer,
                audience=self._settings.audience,
                leeway=self._settings.leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except (jwt.PyJWTError, ValueError, TypeError):
            return None
        return self._caller(claims)

    async def _key(self, token: str) -> jwt.PyJWK | None:
        if len(token) > _TOKEN_CHARS_MAX:
            return None
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError:
            return None
        key_id = header.get("kid")
        if header.get("alg") not in self._algorithms or not isinstance(key_id, str):
            return None
        await self._refresh(key_id)
        key = self._keys.get(key_id)
        # A key is used for the algorithm it is published for, whatever the token would like.
        return key if key is not None and key.algorithm_name == header["alg"] else None

    async def _refresh(self, key_id: str) -> None:
        """Fetch the keys where they are old or don't hold this one; not too often."""
        async with self._lock:
            now_s = self._clock_s()
            is_fresh = now_s - self._fetched_s < _FRESH_S and key_id in self._keys
            if not is_fresh and now_s - self._tried_s >= _REFETCH_S:
                self._tried_s = now_s
                await self._fetch_keys(now_s)
            if now_s - self._fetched_s >= _STALE_S:
                raise Problem(
                    HTTPStatus.SERVICE_UNAVAILABLE,
                    "the identity provider's keys can't be had",
                    headers={"Retry-After": str(int(_REFETCH_S))},
                )

    async def _fetch_keys(self, now_s: float) -> None:
        try:
            found = jwt.PyJWKSet.from_json((await self._fetch()).decode())
        except (httpx.HTTPError, jwt.PyJWTError, ValueError, TypeError, KeyError) as error:
            log.warning("jwks_unavailable", kind=type(error).__name__)
            return
        self._keys = {key.key_id: key for key in found.keys if key.key_id}
        self._fetched_s = now_s

    def _caller(self, claims: dict[str, Any]) -> Caller | None:
        given = claims.get(self._settings.scope_claim, "")
        names = given.split() if isinstance(given, str) else given
        subject = claims["sub"]
        if not isinstance(names, list) or not isinstance(subject, str):
            return None
        scopes = frozenset(Scope(name) for name in names if name in list(Scope))
        return Caller(f"jwt:{subject[:_SUBJECT_CHARS_MAX]}", scopes)


async def fetch_jwks(url: str) -> bytes:
    """The provider's published keys. Raises httpx.HTTPError, ValueError where it is no answer."""
    async with (
        httpx.AsyncClient(timeout=_FETCH_TIMEOUT_S, follow_redirects=False) as client,
        client.stream("GET", url) as answer,
    ):
        answer.raise_for_status()
        content = b""
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > _JWKS_BYTES_MAX:
                raise ValueError("the answer is too large to be keys")
        return content
