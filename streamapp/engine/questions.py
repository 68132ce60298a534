"""What the API asks the owner of a user's partition: the profile, and what-if.

Answered between two batches on the worker's own loop, a few at a time and not many a second, so
that who asks does not slow the stream down. Nobody may ask unless a secret is set.
"""

import asyncio
import hmac
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Protocol, TypeVar

import msgspec
from aiohttp import web

from streamapp.engine import metrics
from streamapp.engine.partition import PartitionTask
from streamapp.features.profile_view import view
from streamapp.scoring.process import ScoredBatch

PROFILE_PATH: Final = "/internal/profile"
WHAT_IF_PATH: Final = "/internal/what-if"

#: The partition is not at work here (any more): ask who owns it now.
MOVED: Final = 421
#: Nothing is known of this user.
UNKNOWN: Final = 204
#: Too many ask; come again.
BUSY: Final = 503

#: Questions that wait for a batch to end at the same time.
_WAITING_MAX: Final = 8
#: A what-if takes about a millisecond, so this is a tenth of a core at worst.
_PER_S: Final = 100.0
_WAIT_S: Final = 1.0

Asked = TypeVar("Asked", bound="_About")


class Partitions(Protocol):
    """Whoever has partitions at work."""

    def between_batches(self, partition: int) -> AbstractAsyncContextManager[PartitionTask | None]:
        """The task of a partition, None where it is not here."""


class _About(msgspec.Struct, frozen=True):
    partition: int
    user_id: str


class _Payment(_About, frozen=True):
    transaction: str


class Questions:
    """Routes for the worker's HTTP server. Used from one event loop."""

    def __init__(self, partitions: Partitions, secret: str) -> None:
        self._partitions = partitions
        self._expected = f"Bearer {secret}".encode()
        self._waiting = 0
        self._allowance = _PER_S
        self._refilled_at_s = 0.0

    def routes(self) -> list[web.RouteDef]:
        """POST, so that users stand in no address."""
        return [web.post(PROFILE_PATH, self._profile), web.post(WHAT_IF_PATH, self._what_if)]

    async def _profile(self, request: web.Request) -> web.Response:
        def answer(task: PartitionTask, asked: _About) -> web.Response:
            image = task.profile(asked.user_id)
            if image is None:
                return web.Response(status=UNKNOWN)
            return _json({"partition": asked.partition, **view(image)})

        return await self._answered(request, _About, answer)

    async def _what_if(self, request: web.Request) -> web.Response:
        def answer(task: PartitionTask, asked: _Payment) -> web.Response:
            return _outcome(task.what_if(asked.user_id.encode(), asked.transaction.encode()))

        return await self._answered(request, _Payment, answer)

    async def _answered(
        self,
        request: web.Request,
        kind: type[Asked],
        answer: Callable[[PartitionTask, Asked], web.Response],
    ) -> web.Response:
        given = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        if not hmac.compare_digest(given, self._expected):
            return web.Response(status=401)
        if not self._take_allowance() or self._waiting >= _WAITING_MAX:
            return _counted(web.Response(status=BUSY))
        self._waiting += 1
        try:
            async with asyncio.timeout(_WAIT_S):
                asked = msgspec.json.decode(await request.read(), type=kind)
                async with self._partitions.between_batches(asked.partition) as task:
                    return _counted(
                        web.Response(status=MOVED) if task is None else answer(task, asked)
                    )
        except TimeoutError:
            return _counted(web.Response(status=BUSY))
        except msgspec.DecodeError:
            return _counted(web.Response(status=400))
        finally:
            self._waiting -= 1

    def _take_allowance(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        gained = (now_s - self._refilled_at_s) * _PER_S
        self._allowance = min(_PER_S, self._allowance + gained)
        self._refilled_at_s = now_s
        if self._allowance < 1:
            return False
        self._allowance -= 1
        return True


def _outcome(scored: ScoredBatch) -> web.Response:
    """The verdict, or as 422 the words of the dead letter there would be."""
    if scored.dead_letters:
        why = scored.dead_letters[0].rejected
        refused = {"reason": why.reason, "field": why.field, "detail": why.detail}
        return _json(refused, 422)
    return web.Response(body=next(iter(scored.payloads)), content_type="application/json")


def _json(content: dict[str, Any], status: int = 200) -> web.Response:
    body = msgspec.json.encode(content)
    return web.Response(status=status, body=body, content_type="application/json")


def _counted(answer: web.Response) -> web.Response:
    metrics.QUESTIONS.labels(str(answer.status)).inc()
    return answer
