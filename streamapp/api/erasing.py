"""Erasure of a user: one record among the user's own transactions, and what it leaves behind."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Final

import msgspec

from streamapp.api.problems import Problem
from streamapp.api.publisher import Headers, PublishError
from streamapp.domain.erasure import erasure
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.kafka.topics import topic_configs

Publish = Callable[[str, bytes, bytes, Headers], Awaitable[None]]
Configs = dict[str, dict[str, str]]
DescribeTopics = Callable[[KafkaSettings, Sequence[str]], Awaitable[Configs]]

#: Beyond a hundred years a broker means: for ever.
_LONGEST_MS: Final = 100 * 365 * 86_400_000


class Remainder(msgspec.Struct, frozen=True):
    """What an erasure leaves. `until` None: nothing of ours ends it."""

    where: str
    what: str
    until: datetime | None


async def described(kafka: KafkaSettings, names: Sequence[str]) -> Configs:
    """Configurations of topics; asked in a thread."""
    return await asyncio.to_thread(topic_configs, kafka, names)


class Erasing:
    """Sends erasures, and says what they do not reach."""

    def __init__(
        self,
        publish: Publish,
        kafka: KafkaSettings,
        topics: TopicSettings,
        group: str,
        now: Callable[[], datetime],
        describe: DescribeTopics = described,
    ) -> None:
        self._publish = publish
        self._kafka = kafka
        self._topics = topics
        self._group = group
        self._now = now
        self._describe = describe

    async def erase(self, user_id: str) -> list[Remainder]:
        """Return when the broker has the erasure: what will remain. Raises Problem (503)."""
        topic = self._topics.name("transactions")
        try:
            await self._publish(topic, user_id.encode(), erasure(user_id), ())
        except PublishError:
            raise Problem(
                HTTPStatus.SERVICE_UNAVAILABLE,
                "the broker takes no transactions for now; send it again",
                headers={"Retry-After": "1"},
            ) from None
        return await self._remaining()

    async def _remaining(self) -> list[Remainder]:
        names = self._topics
        kept = {
            names.name("transactions"): "the user's transactions, and this erasure",
            names.name("verdicts"): "verdicts on them",
            names.name("anomalies"): "those that are anomalies",
            names.name("dead_letters"): "transactions that were refused",
            names.name("labels"): "labels of the user's transactions",
        }
        changelog = names.changelog(self._group)
        configs = await self._describe(self._kafka, [*kept, changelog])
        return [
            *(
                Remainder(f"topic {name}", what, self._after(_deleted_ms(configs.get(name, {}))))
                for name, what in kept.items()
            ),
            Remainder(
                f"topic {changelog}",
                "earlier profiles, until they are compacted",
                self._after(_compacted_ms(configs.get(changelog, {}))),
            ),
            Remainder("Parquet files", "verdicts: files are not written again", None),
            Remainder("receivers of alerts and other readers", "what they have been sent", None),
            Remainder("local state of workers that are away", "the profile, till it is back", None),
        ]

    def _after(self, delay_ms: int | None) -> datetime | None:
        return None if delay_ms is None else self._now() + timedelta(milliseconds=delay_ms)


def _deleted_ms(config: Mapping[str, str]) -> int | None:
    """When a record written now is gone: a segment that may still grow for segment.ms is kept."""
    return _sum_ms(config, "retention.ms", "segment.ms")


def _compacted_ms(config: Mapping[str, str]) -> int | None:
    """When what an erasure replaces may be compacted at the latest, the cleaner's time aside."""
    return _sum_ms(config, "max.compaction.lag.ms")


def _sum_ms(config: Mapping[str, str], *names: str) -> int | None:
    values = [int(config.get(name, -1)) for name in names]
    is_bounded = all(0 <= value < _LONGEST_MS for value in values)
    return sum(values) if is_bounded else None
