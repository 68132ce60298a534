"""Risk windows made of the payments and labels that stand in their topics."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from streamapp.features.columns import Columns
from streamapp.features.contract import DAY_MS
from streamapp.features.risk_windows import RiskTable, risk_hashes
from streamapp.kafka.settings import KafkaSettings
from streamapp.lifecycle.labels import LabelCounts, Labels, join, payment_keys
from streamapp.lifecycle.risk_ledger import RiskLedger
from streamapp.lifecycle.topic_payments import read_topic_payments
from streamapp.lifecycle.training import TrainingError
from streamapp.scoring.admission import StreamClock


def admitted_payments(kafka: KafkaSettings, topic: str) -> NDArray[Any]:
    """All payments that stand in a topic now (n, of dtype EVENT), as workers admit them by time.

    Of those with one tx_id and user the first. Raises TopicError; TrainingError where none is.
    """
    read = read_topic_payments(kafka, topic).values()
    found = [one[StreamClock().admit(one["time_ms"])] for one in read]
    if not sum(map(len, found)):
        raise TrainingError(f"there is not one payment in {topic}")
    payments = np.concatenate(found)
    _, first = np.unique(payment_keys(payments["tx"], payments["user"]), return_index=True)
    return payments[np.sort(first)]


def newest_windows(
    payments: NDArray[Any], labels: Labels, delay_days: int
) -> tuple[RiskTable, LabelCounts]:
    """The windows that hold on the day of the newest payment, by labels known at its midnight.

    A function of what is given, whatever its order.
    """
    time_ms, names = payments["time_ms"], risk_hashes(Columns(payments))
    opinions = join(labels, payment_keys(payments["tx"], payments["user"]), time_ms)
    payment, known_ms, change = opinions.fraud_changes()
    ledger = RiskLedger(delay_days)
    ledger.add_payments(time_ms, names)
    ledger.add_fraud_changes(time_ms[payment], names[payment], known_ms, change)
    return ledger.table(int(time_ms.max()) // DAY_MS), opinions.counts
