"""Labels of recorded traffic as they would become known, and the risk windows made of them."""

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from streamapp.lifecycle.evaluation.traffic import Traffic
from streamapp.lifecycle.labels import MATURITY_MS, UNKNOWN
from streamapp.lifecycle.risk_ledger import RiskLedger, contexts_of, days_of


class LabelFeed:
    """Gives every label a delay after its payment, and no sooner."""

    def __init__(self, delay_ms: int) -> None:
        self._delay_ms = delay_ms
        self.delay_days = days_of(delay_ms)
        self._ledger = RiskLedger(self.delay_days)

    def with_context(self, parts: list[Traffic]) -> list[Traffic]:
        """The same traffic with the context of its days; it follows what was given before."""
        traffic = Traffic.joined(parts)
        frauds = traffic.at(np.flatnonzero(traffic.label == 1))
        ones = np.ones(len(frauds), np.int64)
        known_ms = frauds.time_ms + self._delay_ms
        self._ledger.add_fraud_changes(frauds.time_ms, frauds.names, known_ms, ones)
        contexts = contexts_of(self._ledger, traffic.time_ms, traffic.names)
        ends = np.cumsum([len(part) for part in parts])[:-1]
        pieces = np.split(contexts, ends)
        return [replace(part, context=one) for part, one in zip(parts, pieces, strict=True)]

    def known(self, traffic: Traffic, moment_ms: int) -> NDArray[np.int8]:
        """What is known at a moment: 1 fraud, 0 genuine, UNKNOWN."""
        is_known = traffic.time_ms + self._delay_ms <= moment_ms
        is_mature = traffic.time_ms + MATURITY_MS <= moment_ms
        genuine = (is_known & (traffic.label == 0)) | (is_mature & (traffic.label < 0))
        known = np.where(genuine, 0, UNKNOWN).astype(np.int8)
        known[is_known & (traffic.label == 1)] = 1
        return known
