"""Who may do what: scopes, callers, and routes that can't be declared without saying which."""

from collections.abc import Callable, Coroutine
from contextlib import AbstractAsyncContextManager
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

    def admit(self, request: Request, scope: Scope) -> AbstractAsyncContextManager[Caller]:
        """Hold a place for the request. Raises Problem where it is denied."""


def takes(scope: Scope | None) -> dict[str, Any]:
    """`openapi_extra` of a route that takes this scope; None lets anyone in."""
    if scope is None:
        return {SCOPE_EXTENSION: PUBLIC, "security": []}
    return {SCOPE_EXTENSION: scope.value, "security": [{SECURITY_SCHEME: [scope.value]}]}


class GuardedRoute(APIRoute):
    """A route that is denied to all unless it says which scope it takes."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The handler behind the guard. Raises TypeError where the route names no scope."""
        handler = super().get_route_handler()
        named = (self.openapi_extra or {}).get(SCOPE_EXTENSION)
        if named is None:
            raise TypeError(f"route {self.path} says no scope: give it openapi_extra=takes(...)")

        async def guarded(request: Request) -> Response:
            guard: Guards = request.app.state.guard
            with (
                metrics.request_measured(self.path) as measured,
                traced(request, self.path, measured),
            ):
                try:
                    if named == PUBLIC:
                        answer = await handler(request)
                    else:
                        async with guard.admit(request, Scope(named)) as caller:
                            request.state.caller = caller
                            answer = await handler(request)
                except FORESEEN as error:
                    measured.status = status_of(error)
                    raise
                except Exception as error:
                    raise unforeseen(error) from error
                measured.status = answer.status_code
                return answer

        return guarded
