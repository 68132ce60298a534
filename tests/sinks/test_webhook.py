"""The webhook: signed, retried within bounds, and only to addresses it may reach."""

import hashlib
import hmac
import ipaddress
import socket
from collections.abc import Sequence

import pytest
from pydantic import SecretStr, ValidationError

from streamapp.domain.trace_context import TraceContext
from streamapp.sinks.alerts.address import checked_address, is_public, resolve
from streamapp.sinks.alerts.alert import Alert, alert_of
from streamapp.sinks.alerts.channel import Refused
from streamapp.sinks.alerts.settings import WebhookSettings
from streamapp.sinks.alerts.webhook import WebhookChannel
from streamapp.sinks.protocol import Fatal, Retryable
from tests.sinks.receiver import Receiver
from tests.sinks.verdicts import verdict

KEY = "a webhook key of enough length"


def channel(url: str, *, allow_private: bool = True, **settings: float) -> WebhookChannel:
    """A channel whose clock stands at second 1,700,000,000."""
    given = {"url": SecretStr(url), "secret": SecretStr(KEY), "allow_private": allow_private}
    return WebhookChannel(WebhookSettings.model_validate({**given, **settings}), lambda: 1.7e9)


def alert(offset: int = 0) -> Alert:
    """Some alert."""
    return alert_of(verdict(offset), suppressed=2)


def test_body_is_the_alert_and_its_signature_holds(receiver: Receiver) -> None:
    """A receiver that knows the key can check time and body."""
    channel(receiver.url).send(alert())
    (request,) = receiver.accepted
    expected = hmac.new(KEY.encode(), b"1700000000." + request.raw, hashlib.sha256).hexdigest()
    assert f"t=1700000000,v1={expected}" == request.headers["x-streamapp-signature"]
    assert "transactions-0-0" == request.key
    assert "/hook?room=7" == request.path
    assert f"127.0.0.1:{receiver.port}" == request.headers["host"]
    assert (2, "HIGH", 1) == tuple(
        request.body[name] for name in ("suppressed", "severity", "alert_version")
    )


def test_a_trace_goes_along(receiver: Receiver) -> None:
    """W3C trace context of the transaction; without one there is no header of that name."""
    trace = TraceContext.of(f"00-{'a' * 32}-{'b' * 16}-01", "vendor=1")
    channel(receiver.url).send(alert(), trace)
    channel(receiver.url).send(alert(1))
    first, second = (request.headers for request in receiver.accepted)
    assert (trace.parent, "vendor=1") == (first["traceparent"], first["tracestate"])
    assert not {"traceparent", "tracestate"} & set(second)


def test_host_header_keeps_the_name(receiver: Receiver) -> None:
    """The connection goes to the checked address, the request to the named host."""
    url = receiver.url.replace("127.0.0.1", "localhost")
    channel(url).send(alert())
    assert f"localhost:{receiver.port}" == receiver.accepted[0].headers["host"]


def test_id_from_outside_cannot_add_headers(receiver: Receiver) -> None:
    """Line breaks in an id are quoted."""
    channel(receiver.url).send(alert_of(verdict(0, verdict_id="a\r\nX-Evil: 1 é"), 0))
    assert "x-evil" not in receiver.accepted[0].headers
    assert "a%0D%0AX-Evil%3A%201%20%C3%A9" == receiver.accepted[0].key


@pytest.mark.parametrize("status", [408, 429, 502, 503, 504])
def test_receiver_that_is_away_is_retried_without_end(receiver: Receiver, status: int) -> None:
    """The runner bounds the time; no alert is given up for it."""
    receiver.answers = [(status, {})] * 5
    hook = channel(receiver.url, attempts_max=2)
    for _ in range(5):
        with pytest.raises(Retryable, match=str(status)):
            hook.send(alert())
    hook.send(alert())
    assert 1 == len(receiver.accepted)


@pytest.mark.parametrize("status", [301, 302, 307, 400, 401, 404, 410, 422])
def test_no_is_final(receiver: Receiver, status: int) -> None:
    """Other 4xx are not repeated, and a redirect is not followed."""
    receiver.answers = [(status, {"Location": receiver.url})]
    with pytest.raises(Refused, match=str(status)):
        channel(receiver.url).send(alert())
    assert 1 == len(receiver.requests)


def test_alert_that_breaks_the_receiver_is_given_up(receiver: Receiver) -> None:
    """An alert answered by 500 each time is tried so often, then the next has its turn."""
    receiver.answers = [(500, {})] * 3
    hook = channel(receiver.url, attempts_max=3)
    for _ in range(2):
        with pytest.raises(Retryable):
            hook.send(alert())
    with pytest.raises(Refused):
        hook.send(alert())
    hook.send(alert(1))
    assert "transactions-0-1" == receiver.accepted[0].key


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        ("7", 7.0),
        ("999999", 30.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", None),
        ("-5", None),
        ("²", None),
    ],
)
def test_retry_after_is_honoured_within_a_bound(
    receiver: Receiver, header: str, expected: float | None
) -> None:
    """The receiver's wish counts up to the setting."""
    receiver.answers = [(429, {"Retry-After": header})]
    with pytest.raises(Retryable) as caught:
        channel(receiver.url, retry_after_s_max=30).send(alert())
    assert expected == caught.value.retry_after_s


def test_silent_receiver_times_out() -> None:
    """A connection that is taken and never answered ends in time."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        hook = channel(f"http://127.0.0.1:{server.getsockname()[1]}/", timeout_s=0.2)
        with pytest.raises(Retryable, match="ReadTimeout"):
            hook.send(alert())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "2130706433",
        "0x7f000001",
        "0177.0.0.1",
        "127.1",
        "0.0.0.0",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "100.64.0.1",
        "169.254.169.254",
        "224.0.0.1",
        "255.255.255.255",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:a9fe:a9fe]",
        "[::127.0.0.1]",
        "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]",
        "[fe80::1]",
        "[fc00::1]",
        "[fd00:ec2::254]",
        "[ff02::1]",
    ],
)
def test_private_addresses_are_blocked(host: str) -> None:
    """In whatever notation, nothing but the public internet is reached unless allowed."""
    with pytest.raises(Fatal, match="private, loopback"):
        channel(f"https://{host}/", allow_private=False).send(alert())


def test_name_with_one_private_address_is_blocked() -> None:
    """A name that answers with a public and a private address is not to be trusted at all."""
    answers = ["93.184.215.14", "10.0.0.1"]
    with pytest.raises(Fatal):
        checked_address("x.example", 443, False, lambda *_: answers)


def test_connection_goes_to_the_address_that_was_checked(receiver: Receiver) -> None:
    """The name is resolved once per request: a second answer has no chance (DNS rebinding)."""
    asked: list[str] = []

    def resolver(host: str, port: int) -> Sequence[str]:
        asked.append(host)
        return ["127.0.0.1"]

    url = f"http://alerts.invalid:{receiver.port}/hook"
    settings = WebhookSettings(url=SecretStr(url), secret=SecretStr(KEY), allow_private=True)
    WebhookChannel(settings, lambda: 1.7e9, resolver).send(alert())
    assert ["alerts.invalid"] == asked
    assert f"alerts.invalid:{receiver.port}" == receiver.accepted[0].headers["host"]


def test_name_that_does_not_resolve_is_retryable() -> None:
    """DNS trouble passes."""
    with pytest.raises(Retryable, match="resolving"):
        resolve("streamapp.invalid", 443)


@pytest.mark.parametrize("text", ["93.184.215.14", "2606:2800:21f:cb07::1", "64:ff9b::5db8:d70e"])
def test_public_addresses_are_public(text: str) -> None:
    """The check does not block the internet."""
    assert is_public(ipaddress.ip_address(text))


def test_proxies_of_the_environment_are_not_used(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A proxy would resolve the name again, unchecked."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:1")
    channel(receiver.url).send(alert())
    assert 1 == len(receiver.accepted)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org",
        "https:///token",
        "https://u:p@x/",
        "https://x:port/",
    ],
)
def test_unusable_address_is_refused_without_repeating_it(url: str) -> None:
    """Mistakes show at the start, and the error does not hold the address."""
    with pytest.raises(ValidationError) as caught:
        WebhookSettings(url=SecretStr(url))
    assert url not in str(caught.value.errors(include_input=False))
