"""Who may do what: scopes, callers, and routes that can't be declared without saying which."""

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final, Protocol

from fastapi import Request, Response
from fastapi.routing import APIRoute

from streamapp.api import metrics
from streamapp.api.problems import FORESEEN, status_of, unforeseen
from streamapp.api.traces import traced

SCOPE_EXTENSION: Final = "x-streamapp-scope"
SECURITY_SCHEME: Final = "bearer"
#: Stands for no scope: anyone may ask.
PUBLIC: Final = "public"

Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class Scope(StrEnum):
    """What a key may be used for. None includes another."""

    READ = "read"
    SCORE = "score"
    LABEL = "label"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class Caller:
    """Whoever was let in. `id` names a key or a token's subject, never a user of the stream."""

    id: str
    scopes: frozenset[Scope]


class Guards(Protocol):
    """Lets callers in, one request at a time."""

    async def admit(self, request: Request, scope: Scope) -> Caller:
        """Whoever asks. Raises Problem where the request is denied."""

    def place(self, caller: Caller) -> AbstractContextManager[None]:
        """Hold a place for the caller's request. Raises Problem where there is none."""


def takes(scope: Scope | None) -> dict[str, Any]:
    """`openapi_extra` of a route that takes this scope; None lets anyone in."""
    if scope is None:
        return {SCOPE_EXTENSION: PUBLIC, "security": []}
    return {SCOPE_EXTENSION: scope.value, "security": [{SECURITY_SCHEME: [scope.value]}]}


class GuardedRoute(APIRoute):
    """A route that is denied to all unless it says which scope it takes."""

    def get_route_handler(self) -> Handler:
        """The framework's handler behind the guard. Raises TypeError where no scope is named."""
        return self.guarded(super().get_route_handler())

    def guarded(self, handler: Handler) -> Handler:
        """A handler behind the guard of this route. Raises TypeError where it names no scope."""
        named = (self.openapi_extra or {}).get(SCOPE_EXTENSION)
        if named is None:
            raise TypeError(f"route {self.path} says no scope: give it openapi_extra=takes(...)")
        scope = None if named == PUBLIC else Scope(named)

        async def admitted(request: Request) -> Response:
            if scope is None:
                return await handler(request)
            guard: Guards = request.app.state.guard
            request.state.caller = caller = await guard.admit(request, scope)
            with guard.place(caller):
                return await handler(request)

        async def measured(request: Request) -> Response:
            with metrics.Measured(self.path) as seen, traced(request, self.path, seen):
                try:
                    answer = await admitted(request)
                except FORESEEN as error:
                    seen.status = status_of(error)
                    raise
                except Exception as error:
                    raise unforeseen(error) from error
                seen.status = answer.status_code
                return answer

        return measured
