"""Which guarantee a worker gives: asked of the broker once, at start, and never changed after."""

import asyncio
from collections.abc import Awaitable
from typing import Any, Final

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    IncompatibleBrokerVersion,
    KafkaError,
    TransactionalIdAuthorizationFailed,
    UnsupportedVersionError,
)

from streamapp.engine import metrics
from streamapp.engine.partition_log import producer_options
from streamapp.engine.settings import Guarantee, WorkerSettings

log = structlog.get_logger()

#: AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit, by their numbers in the protocol.
_TRANSACTION_APIS: Final = frozenset({24, 25, 26, 28})

#: A broker that has just started first has to make the topic that keeps its transactions.
_ANSWER_TIMEOUT_S: Final = 30.0


class GuaranteeError(Exception):
    """The guarantee wished for can't be given; the message names the way out."""


async def chosen_guarantee(
    settings: WorkerSettings, client: dict[str, Any], source_topic: str
) -> Guarantee:
    """The guarantee wished for; under `auto` the best the broker has. Raises GuaranteeError."""
    guarantee = settings.guarantee
    why = "as STREAMAPP_WORKER__GUARANTEE says"
    if guarantee != "at_least_once":
        lacking = await _lacking(client, f"{settings.group}-{source_topic}-probe")
        if lacking and guarantee == "exactly_once":
            raise GuaranteeError(
                f"STREAMAPP_WORKER__GUARANTEE is exactly_once, but {lacking}; choose another "
                f"broker, or set it to auto or at_least_once"
            )
        if guarantee == "auto":
            guarantee = "at_least_once" if lacking else "exactly_once"
            why = lacking or "the broker has transactions"
    metrics.GUARANTEE_INFO.labels(guarantee).set(1)
    (log.warning if guarantee == "at_least_once" else log.info)(
        "guarantee_chosen", guarantee=guarantee, why=why
    )
    return guarantee


async def _lacking(client: dict[str, Any], transactional_id: str) -> str | None:
    """What the broker lacks for transactions, tried with the very client that would use them."""
    producer = AIOKafkaProducer(**producer_options(client), transactional_id=transactional_id)
    try:
        await _answered(producer.start(), transactional_id)
        missing = _TRANSACTION_APIS - _offered(producer)
    except (IncompatibleBrokerVersion, UnsupportedVersionError):
        return "the broker has no transactions (it does not know InitProducerId)"
    finally:
        await producer.stop()
    if missing:
        return f"the broker has no transactions (it does not know requests {sorted(missing)})"
    return None


async def _answered(start: Awaitable[None], transactional_id: str) -> None:
    """Silence and a refusal are no answer: only a broker that says so has no transactions."""
    try:
        await asyncio.wait_for(start, _ANSWER_TIMEOUT_S)
    except TimeoutError as error:
        raise GuaranteeError(
            f"the broker began no transaction within {_ANSWER_TIMEOUT_S:.0f} s: check its topic "
            f"__transaction_state (too few brokers for its replication factor?), or set "
            f"STREAMAPP_WORKER__GUARANTEE=at_least_once"
        ) from error
    except TransactionalIdAuthorizationFailed as error:
        raise GuaranteeError(
            f"the broker forbids the transactional id {transactional_id}: allow this user ids that "
            f"begin with the group's name, or set STREAMAPP_WORKER__GUARANTEE=at_least_once"
        ) from error
    except (IncompatibleBrokerVersion, UnsupportedVersionError):
        raise
    except KafkaError as error:
        raise GuaranteeError(f"the broker refused a transactional producer: {error!r}") from error


def _offered(producer: AIOKafkaProducer) -> set[int]:
    """Requests that every broker connected to knows, by their numbers."""
    known = [set(one._versions) for one in producer.client._conns.values() if one._versions]
    return set.intersection(*known) if known else set()
