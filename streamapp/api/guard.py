"""The way into the API: who asks, with which right, and not too much at once."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from datetime import datetime
from http import HTTPStatus
from typing import Final

from fastapi import Request

from streamapp.api import metrics
from streamapp.api.access import Caller, Scope
from streamapp.api.keys import PREFIX, KeyWatch
from streamapp.api.limits import Limits
from streamapp.api.problems import Problem
from streamapp.api.tokens import TokenVerifier

_CHALLENGE: Final = {"WWW-Authenticate": 'Bearer realm="streamapp"'}


class Guard:
    """Admits a request by its bearer token: an API key, or a token of the identity provider."""

    def __init__(
        self,
        keys: KeyWatch,
        tokens: TokenVerifier | None,
        limits: Limits,
        now: Callable[[], datetime],
    ) -> None:
        self.limits = limits
        self._keys = keys
        self._tokens = tokens
        self._now = now

    @property
    def failure(self) -> str | None:
        """Why keys can't be checked, where they can't."""
        return self._keys.failure

    async def admit(self, request: Request, scope: Scope) -> Caller:
        """Whoever asks. Raises Problem: 401, 403."""
        caller = await self._caller(request.headers.get("authorization"))
        if caller is None:
            metrics.DENIED.labels("401").inc()
            raise Problem(
                HTTPStatus.UNAUTHORIZED,
                "give a valid key or token as Authorization: Bearer",
                headers=_CHALLENGE,
            )
        if scope not in caller.scopes:
            metrics.DENIED.labels("403").inc()
            raise Problem(HTTPStatus.FORBIDDEN, f"this takes a key with scope {scope}")
        return caller

    def place(self, caller: Caller) -> AbstractContextManager[None]:
        """Hold a place for one request while the block runs. Raises Problem (429)."""
        return self.limits.request(caller.id)

    async def still_holds(self, request: Request, scope: Scope) -> bool:
        """Whether what opened a long answer would open it now: keys end while it is given."""
        caller = await self._caller(request.headers.get("authorization"))
        return caller is not None and scope in caller.scopes

    async def _caller(self, authorization: str | None) -> Caller | None:
        kind, _, token = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not token:
            return None
        if token.startswith(f"{PREFIX}_"):
            return self._keys.ring().caller(token, self._now())
        return await self._tokens.caller(token) if self._tokens else None
