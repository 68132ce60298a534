"""Verdicts into alerts: severity, repeats and cooldown first, then the channel.

An alert goes out at least once. A verdict that comes again while this process lives is recognised
by its id; after a crash, those since the last commit (one batch at most) may alert again, under the
same verdict_id. Cooldowns are in memory only: after a restart a user may alert once more early.
"""

from collections.abc import Sequence
from datetime import datetime

import structlog

from streamapp.domain.verdict import Verdict
from streamapp.sinks import metrics
from streamapp.sinks.alerts.alert import alert_of
from streamapp.sinks.alerts.channel import Channel, Refused
from streamapp.sinks.alerts.cooldown import Cooldown, Recent
from streamapp.sinks.alerts.settings import AlertSettings
from streamapp.sinks.immediate import Immediate
from streamapp.sinks.protocol import StoredVerdict

log = structlog.get_logger()


class AlertSink(Immediate):
    """Sends an alert for every verdict that is severe enough, new, and not cooling down."""

    name = "alerts"
    #: At five seconds a call, the longest a webhook may take, a batch stays below a minute.
    batch_records_max = 10

    def __init__(self, settings: AlertSettings, channel: Channel) -> None:
        self._settings = settings
        self._channel = channel
        self._seen: Recent[str, None] = Recent(settings.ids_max)
        self._cooldown = Cooldown(settings.cooldown_s, settings.cooldown_users_max)

    def open(self) -> None:
        """Nothing to connect before the first alert."""

    def write(self, verdicts: Sequence[StoredVerdict]) -> int:
        """Send what has to be sent, in order; return how many alerts went out.

        After Retryable the same batch may be written again: what was done is in `_seen`.
        """
        return sum(self._take(stored) for stored in verdicts)

    def close(self) -> None:
        """Close the channel."""
        self._channel.close()

    def _take(self, stored: StoredVerdict) -> int:
        verdict = stored.verdict
        if verdict.verdict_id in self._seen or not self._alerts(verdict):
            return 0
        sent = 0
        if self._cooldown.holds(verdict.user_id, _seconds(verdict), verdict.severity.rank):
            self._cooldown.held_back(verdict.user_id)
            metrics.SUPPRESSED.inc()
        else:
            sent = self._send(stored)
        self._seen.put(verdict.verdict_id, None)
        return sent

    def _alerts(self, verdict: Verdict) -> bool:
        severe = verdict.severity.rank >= self._settings.min_severity.rank
        return severe and verdict.duplicate_of is None

    def _send(self, stored: StoredVerdict) -> int:
        verdict = stored.verdict
        try:
            alert = alert_of(verdict, self._cooldown.suppressed(verdict.user_id))
            self._channel.send(alert, stored.trace)
        except Refused as error:
            metrics.REFUSED.labels(self.name).inc()
            log.warning(
                "alert_refused",
                reason=str(error),
                partition=stored.partition,
                offset=stored.offset,
            )
            return 0
        self._cooldown.alerted(verdict.user_id, _seconds(verdict), verdict.severity.rank)
        metrics.ALERTS.labels(verdict.severity.value).inc()
        return 1


def _seconds(verdict: Verdict) -> float:
    """Event time as Unix seconds."""
    return datetime.fromisoformat(verdict.timestamp).timestamp()
