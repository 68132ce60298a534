"""Payments as they stand in their topic, in the columns that features are made of."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
from confluent_kafka import Message
from numpy.typing import NDArray

from streamapp.kafka.settings import KafkaSettings
from streamapp.kafka.topic_reader import Span, TopicReader, number
from streamapp.scoring.payments import read_payments

GROUP: Final = "streamapp.train"

_CHUNK: Final = 2_048


def read_topic_payments(
    kafka: KafkaSettings, topic: str, wanted: Mapping[int, Span] | None = None
) -> dict[int, NDArray[Any]]:
    """Of each partition the payments (dtype EVENT) in offset order; what is none is left out.

    wanted: offsets to read of each partition; all that stands there by default. Raises TopicError.
    """
    waiting: defaultdict[int, list[Message]] = defaultdict(list)
    found: defaultdict[int, list[NDArray[Any]]] = defaultdict(list)

    def take(partition: int) -> None:
        messages = waiting.pop(partition)
        offsets = [number(one.offset()) for one in messages]
        keys, values = [one.key() for one in messages], [one.value() for one in messages]
        found[partition].append(read_payments(keys, values, offsets)[0].columns.records)

    with TopicReader(kafka, topic, GROUP, lambda message: message) as reader:
        for message in reader.read(_spans(reader, wanted)):
            partition = number(message.partition())
            waiting[partition].append(message)
            if len(waiting[partition]) == _CHUNK:
                take(partition)
    for partition in list(waiting):
        take(partition)
    return {partition: np.concatenate(parts) for partition, parts in found.items()}


def _spans(reader: TopicReader[Message], wanted: Mapping[int, Span] | None) -> dict[int, Span]:
    spans = reader.spans()
    if wanted is None:
        return spans
    return {
        part: Span(max(spans[part].start, one.start), min(spans[part].end, one.end))
        for part, one in wanted.items()
        if part in spans
    }
