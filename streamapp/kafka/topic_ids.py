"""The broker's ids of topics: a topic that was deleted and made again has another one.

Kafka gives them since 2.8. A broker that gives none answers with an empty one.
"""

import asyncio
from collections.abc import Mapping, Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient

from streamapp.kafka.metadata import ANSWER_TIMEOUT_S, QUIET, TopicError
from streamapp.kafka.settings import KafkaSettings

_NO_ID: Final = "A" * 22
"""A UUID of zeros, as it is printed."""


class TopicIds:
    """Asks one broker, by one connection that is kept."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._kafka = kafka
        self._admin = AdminClient({**kafka.librdkafka(), **QUIET})

    async def __call__(self, topics: Sequence[str]) -> Mapping[str, str]:
        """The same as `ask`, without holding up the event loop."""
        return await asyncio.to_thread(self.ask, topics)

    def ask(self, topics: Sequence[str]) -> dict[str, str]:
        """The id of each topic that is there; "" where the broker gives none. Raises TopicError."""
        ids = {}
        asked = self._admin.describe_topics(
            TopicCollection(list(topics)), request_timeout=ANSWER_TIMEOUT_S
        )
        for topic, answer in asked.items():
            try:
                found = str(answer.result(2 * ANSWER_TIMEOUT_S).topic_id)
            except KafkaException as error:
                if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                    continue
                raise TopicError(
                    f"{self._kafka.bootstrap_servers} does not say what topic {topic} is: "
                    f"{error.args[0].str()}"
                ) from error
            ids[topic] = "" if found == _NO_ID else found
        return ids
