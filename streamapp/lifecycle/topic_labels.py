"""The labels that stand in their topic, ready to be joined."""

from dataclasses import dataclass

import numpy as np
from confluent_kafka import Message

from streamapp.domain.dead_letter import Rejected
from streamapp.domain.decode import decode_label
from streamapp.domain.label import Label
from streamapp.domain.transaction import epoch_ms
from streamapp.features.columns import name_hash, tx_hash
from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topic_reader import TopicReader, number
from streamapp.lifecycle.labels import Labels, payment_keys
from streamapp.lifecycle.topic_payments import GROUP


@dataclass(frozen=True, slots=True)
class TopicLabels:
    """Labels in the order of partition and offset. refused: records that are none."""

    labels: Labels
    refused: int


def read_topic_labels(kafka: KafkaSettings, topic: str) -> TopicLabels:
    """All that stands in the topic now. Raises TopicError."""
    with TopicReader(kafka, topic, GROUP, _placed) as reader:
        found = sorted(reader.read(reader.spans()), key=lambda placed: placed[0])
    labels = [label for _, label in found if isinstance(label, Label)]
    return TopicLabels(
        Labels(
            payment_keys(
                np.array([tx_hash(one.tx_id) for one in labels], np.uint64),
                np.array([name_hash(one.user_id) for one in labels], np.uint32),
            ),
            np.array([one.is_fraud for one in labels], np.bool_),
            np.array([epoch_ms(one.label_time) for one in labels], np.int64),
        ),
        refused=len(found) - len(labels),
    )


def _placed(message: Message) -> tuple[tuple[int, int], Label | Rejected]:
    place = number(message.partition()), number(message.offset())
    return place, decode_label(message.key(), message.value())
