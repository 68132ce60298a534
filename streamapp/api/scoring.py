"""Transactions in, the stream's own verdicts out: sent as any producer would, and waited for."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from http import HTTPStatus

import msgspec

from streamapp.api import metrics
from streamapp.api.problems import Problem
from streamapp.api.publisher import Headers, PublishError
from streamapp.api.verdict_store import StoreAway
from streamapp.api.waiting import Outcome, Refused, Waiting
from streamapp.domain.dead_letter import Rejected
from streamapp.domain.decode import decode
from streamapp.domain.trace_context import TraceContext
from streamapp.domain.transaction import Transaction

Publish = Callable[[str, bytes, bytes, Headers], Awaitable[None]]
Known = Callable[[str, str], Awaitable[bytes | None]]
"""The first verdict on this user's tx_id, where there is one."""


@dataclass(frozen=True, slots=True)
class Pending:
    """No verdict within the time limit; it will be found under this tx_id."""

    tx_id: str


class _Whose(msgspec.Struct):
    user_id: str


class Scoring:
    """Sends transactions and waits for their verdicts. Used from one event loop."""

    def __init__(
        self, publish: Publish, known: Known, waiting: Waiting, topic: str, timeout_s: float
    ) -> None:
        self._publish = publish
        self._known = known
        self._waiting = waiting
        self._topic = topic
        self._timeout_s = timeout_s

    async def score(self, payload: bytes, trace: TraceContext) -> bytes | Pending:
        """The verdict on one transaction as published. Raises Problem."""
        outcome = await self._score(payload, trace)
        if isinstance(outcome, Refused):
            raise refusal(outcome)
        return outcome

    async def score_all(
        self, payloads: Sequence[bytes], trace: TraceContext
    ) -> list[bytes | Pending | Problem]:
        """The same for each, in order; what goes wrong with one is its own answer."""

        async def one(payload: bytes) -> bytes | Pending | Problem:
            try:
                return await self.score(payload, trace)
            except Problem as problem:
                return problem

        return list(await asyncio.gather(*map(one, payloads)))

    async def _score(self, payload: bytes, trace: TraceContext) -> Outcome | Pending:
        transaction = _parsed(payload)
        if isinstance(transaction, Rejected):
            return Refused(transaction.reason, transaction.field, transaction.detail)
        user_id, tx_id = transaction.user_id, transaction.tx_id
        try:
            known = await self._known(user_id, tx_id)
        except StoreAway:
            known = None  # then the worker says that it is a duplicate
        if known is not None:
            return known
        with self._waiting.join((user_id, tx_id)) as (wait, is_new):
            try:
                async with asyncio.timeout(self._timeout_s):
                    if is_new:
                        await self._send(user_id, payload, trace)
                        wait.is_sent = True
                    return await asyncio.shield(wait.future)
            except TimeoutError:
                if not wait.is_sent:
                    raise not_taken("the broker did not take it in time") from None
                metrics.TIMEOUTS.inc()
                return Pending(tx_id)

    async def _send(self, user_id: str, payload: bytes, trace: TraceContext) -> None:
        headers = [("sent_at", b"%d" % (time.time_ns() // 1_000))]
        headers += [(name, value.encode()) for name, value in trace.headers().items()]
        try:
            await self._publish(self._topic, user_id.encode(), payload, headers)
        except PublishError:
            raise not_taken("the broker takes no transactions for now") from None


def not_taken(fact: str, again: str = "it again with the same tx_id") -> Problem:
    """The broker did not confirm what was sent."""
    return Problem(
        HTTPStatus.SERVICE_UNAVAILABLE,
        f"{fact}; send {again}",
        headers={"Retry-After": "1"},
    )


def refusal(refused: Refused) -> Problem:
    """Why a transaction has no verdict, in the words of its dead letter."""
    return Problem(
        HTTPStatus.UNPROCESSABLE_ENTITY,
        refused.detail,
        reason=refused.reason,
        field=refused.field,
    )


def transaction_of(payload: bytes) -> Transaction:
    """The transaction as a worker will read it. Raises Problem."""
    found = _parsed(payload)
    if isinstance(found, Rejected):
        raise refusal(Refused(found.reason, found.field, found.detail))
    return found


def _parsed(payload: bytes) -> Transaction | Rejected:
    """As a worker will read it."""
    return decode(key_of(payload), payload)


def key_of(payload: bytes) -> bytes | None:
    """The record's key: its user, as for every producer; None where the decoder will refuse it."""
    try:
        return msgspec.json.decode(payload, type=_Whose).user_id.encode()
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        return None
