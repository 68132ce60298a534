"""Which verdicts alert: severe, new, and not cooling down."""

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from streamapp.domain.trace_context import NO_TRACE, TraceContext
from streamapp.domain.transaction import rfc3339
from streamapp.domain.verdict import Reason, Severity
from streamapp.sinks.alerts.adapter import AlertSink
from streamapp.sinks.alerts.alert import Alert, alert_of
from streamapp.sinks.alerts.channel import Refused
from streamapp.sinks.alerts.console import ConsoleChannel, line_of
from streamapp.sinks.alerts.cooldown import Cooldown, Recent
from streamapp.sinks.alerts.settings import AlertSettings
from streamapp.sinks.protocol import Retryable, StoredVerdict
from tests.sinks.verdicts import START_MS, stored, verdict


class KeptChannel:
    """Keeps alerts; raises what it is told to, once each."""

    def __init__(self, *errors: Exception) -> None:
        self.alerts: list[Alert] = []
        self._errors = list(errors)

    def send(self, alert: Alert, trace: TraceContext = NO_TRACE) -> None:
        if self._errors:
            raise self._errors.pop(0)
        self.alerts.append(alert)

    def close(self) -> None:
        pass


def at(second: int, severity: Severity = Severity.HIGH, user_id: str = "u") -> StoredVerdict:
    """A verdict whose event is so many seconds after the start; its offset is unique."""
    place = (second + 10**6) * 4 + severity.rank
    time = rfc3339(START_MS + 1000 * second)
    return stored(verdict(place, user_id=user_id, severity=severity, timestamp=time))


def sent(*verdicts: StoredVerdict, **settings: object) -> list[tuple[str, int]]:
    """(timestamp's time of day, suppressed) of the alerts that these verdicts cause."""
    channel = KeptChannel()
    sink = AlertSink(AlertSettings.model_validate({"cooldown_s": 60, **settings}), channel)
    sink.write(verdicts)
    return [(alert.timestamp[11:19], alert.suppressed) for alert in channel.alerts]


def test_cooldown_holds_back_and_counts() -> None:
    """One alert per cooldown; the next one says how many were held back."""
    alerts = sent(at(0), at(10), at(59), at(60), at(61), at(200))
    assert [("00:00:00", 0), ("00:01:00", 2), ("00:03:20", 1)] == alerts


def test_higher_severity_breaks_the_cooldown() -> None:
    """A CRITICAL after a MEDIUM is not similar to it."""
    alerts = sent(at(0, Severity.MEDIUM), at(5, Severity.CRITICAL), at(6, Severity.HIGH))
    assert [("00:00:00", 0), ("00:00:05", 0)] == alerts


def test_users_cool_down_apart() -> None:
    """One user's alert holds back no other's."""
    assert 2 == len(sent(at(0, user_id="a"), at(1, user_id="b")))


def test_late_event_is_similar_to_the_alert_near_it() -> None:
    """Event time counts, in both directions; the order of arrival does not."""
    assert [("00:05:00", 0), ("00:01:00", 1)] == sent(at(300), at(290), at(60))


def test_low_severity_and_duplicates_do_not_alert() -> None:
    """Below the threshold nothing alerts, nor does a repeat of a transaction."""
    repeat = stored(verdict(1, duplicate_of="transactions-0-0"))
    assert [] == sent(at(0, Severity.LOW), at(0, Severity.MEDIUM), repeat, min_severity="HIGH")


def test_forgotten_users_alert_anew() -> None:
    """Memory of cooldowns is bounded: the least recent user is forgotten."""
    users = [at(0, user_id="a"), at(1, user_id="b"), at(2, user_id="a")]
    assert 3 == len(sent(*users, cooldown_users_max=1))


def test_batch_repeated_after_an_outage_alerts_once() -> None:
    """What went out before the channel broke does not go out again."""
    channel = KeptChannel()
    sink = AlertSink(AlertSettings(cooldown_s=0), channel)
    batch = [at(0), at(1), at(2)]
    sink.write(batch[:2])
    channel._errors.append(Retryable("away"))
    for _ in range(2):
        try:
            sink.write(batch)
        except Retryable:
            continue
    assert 3 == len(channel.alerts)


def test_refused_alert_starts_no_cooldown() -> None:
    """An alert that nobody got holds back no other."""
    channel = KeptChannel(Refused("no"))
    sink = AlertSink(AlertSettings(cooldown_s=60), channel)
    assert 1 == sink.write([at(0), at(1)])


def test_console_prints_one_safe_line() -> None:
    """Markup, line breaks and terminal control in text from outside are shown, not obeyed."""
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, color_system=None, width=40)
    reason = Reason("amount", 1.0, None, 1.0, "[red]9\x1b[2J\n× usual\u202e")
    evil = verdict(0, user_id="u\r\x07", reasons=[reason])
    ConsoleChannel(console).send(alert_of(evil, suppressed=4))
    text = screen.getvalue()
    assert text.endswith("\n")
    assert all(char.isprintable() for char in text[:-1])
    assert "[red]9\ufffd[2J\ufffd× usual" in text
    assert "(+4 similar suppressed)" in text


def test_console_shows_severity_first() -> None:
    """A column of severities can be read down."""
    line = line_of(alert_of(verdict(0, severity=Severity.HIGH), 0)).plain
    assert line.startswith(
        "HIGH      71.5 2019-01-01T00:00:00.000Z user user-0 1,234.50 EUR: amount"
    )


@given(st.lists(st.integers(0, 30), max_size=200), st.integers(1, 10))
def test_recent_keeps_exactly_the_last_touched(keys: list[int], size: int) -> None:
    """The bounded map is the tail of the touches."""
    recent: Recent[int, int] = Recent(size)
    for key in keys:
        recent.put(key, key)
    last = list(dict.fromkeys(reversed(keys)))[:size]
    assert set(last) == {key for key in range(31) if key in recent}
    assert len(last) == len(recent)


@given(st.lists(st.tuples(st.integers(0, 1000), st.integers(0, 3)), max_size=60))
def test_no_verdict_is_lost_between_alerts(events: list[tuple[int, int]]) -> None:
    """Alerts plus what they and the last cooldown count as suppressed are all verdicts."""
    cooldown = Cooldown(50, 10)
    alerts = counted = 0
    for time_s, rank in events:
        if cooldown.holds("u", time_s, rank):
            cooldown.held_back("u")
        else:
            counted += cooldown.suppressed("u")
            alerts += 1
            cooldown.alerted("u", time_s, rank)
    assert len(events) == alerts + counted + cooldown.suppressed("u")
