"""Questions to the worker that owns a user's partition, wherever the partition is now."""

import asyncio
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final, Protocol

import httpx
import msgspec

from streamapp.api.problems import Problem
from streamapp.api.scoring import refusal
from streamapp.api.waiting import Refused
from streamapp.engine.questions import BUSY, MOVED, PROFILE_PATH, UNKNOWN, WHAT_IF_PATH
from streamapp.replay.partitioner import partition_of

#: How long an owner is looked for: some rebalances end within it.
_PATIENCE_S: Final = 3.0
_PAUSE_S: Final = 0.2
_ANSWER_S: Final = 2.0
_RETRY_S: Final = 5

#: What the owner has decided; anything else is asked again.
_FINAL: Final = (HTTPStatus.OK, UNKNOWN, HTTPStatus.UNPROCESSABLE_ENTITY)


class Group(Protocol):
    """What is known of the workers' group."""

    @property
    def owners(self) -> Mapping[int, str]:
        """Address of each partition's owner, as of the last look."""

    def look_again(self) -> None:
        """Have a look soon."""


class Owners:
    """Finds the owner by the group, asks, and asks again where the partition has moved."""

    def __init__(
        self,
        group: Group,
        http: httpx.AsyncClient,
        secret: str | None,
        partitions: int,
        patience_s: float = _PATIENCE_S,
    ) -> None:
        self._group = group
        self._http = http
        self._secret = secret
        self._partitions = partitions
        self._patience_s = patience_s
        partition_of(b"", partitions)  # compiled here, not while others wait

    async def profile(self, user_id: str) -> bytes | None:
        """What the owner says of a user's profile, JSON; None where there is none."""
        answer = await self._asked(PROFILE_PATH, user_id, {})
        return None if answer.status_code == UNKNOWN else answer.content

    async def what_if(self, user_id: str, payload: bytes) -> bytes:
        """The verdict there would be on a transaction of this user. Raises Problem."""
        answer = await self._asked(WHAT_IF_PATH, user_id, {"transaction": payload.decode()})
        if answer.status_code == HTTPStatus.OK:
            return answer.content
        raise refusal(msgspec.json.decode(answer.content, type=Refused))

    async def _asked(self, path: str, user_id: str, more: Mapping[str, str]) -> httpx.Response:
        """The owner's decision. Raises Problem (503) where there is none in time."""
        if self._secret is None:
            raise _unanswered("STREAMAPP_WORKER__API_SECRET is not set: workers can't be asked")
        partition = partition_of(user_id.encode(), self._partitions)
        content = msgspec.json.encode({"partition": partition, "user_id": user_id, **more})
        why = "no worker owns this user's partition, or it says no address"
        try:
            async with asyncio.timeout(self._patience_s):
                while True:
                    address = self._group.owners.get(partition)
                    if address is not None:
                        answer = await self._ask(address + path, content)
                        if answer is not None and answer.status_code in _FINAL:
                            return answer
                        why = _why(answer)
                    self._group.look_again()
                    await asyncio.sleep(_PAUSE_S)
        except TimeoutError:
            raise _unanswered(why) from None

    async def _ask(self, url: str, content: bytes) -> httpx.Response | None:
        headers = {"Authorization": f"Bearer {self._secret}"}
        try:
            return await self._http.post(url, content=content, headers=headers, timeout=_ANSWER_S)
        except httpx.TransportError:
            return None


def _why(answer: httpx.Response | None) -> str:
    if answer is None:
        return "the owner of this user's partition does not answer"
    known = {
        MOVED: "the user's partition moves between workers",
        BUSY: "the owner of this user's partition is asked too much",
        HTTPStatus.UNAUTHORIZED: "the worker has another STREAMAPP_WORKER__API_SECRET",
    }
    return known.get(answer.status_code, "the worker does not take questions")


def _unanswered(why: str) -> Problem:
    return Problem(HTTPStatus.SERVICE_UNAVAILABLE, why, headers={"Retry-After": str(_RETRY_S)})
