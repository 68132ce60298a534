"""Alerts by HTTP POST, signed, to an address that was checked.

Headers: `X-Streamapp-Signature: t=<unix seconds>,v1=<hex HMAC-SHA256 of "<t>.<body>">` and
`Idempotency-Key: <verdict_id>`, and `traceparent` and `tracestate` where the transaction had them.
Delivery is at least once: a receiver that must act once keeps the
keys it has seen. It should refuse a signature whose t is more than a few minutes old.
"""

import hashlib
import hmac
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from urllib.parse import quote, urlsplit

import httpx
import msgspec

from streamapp.domain.trace_context import NO_TRACE, TraceContext
from streamapp.sinks.alerts.address import Resolver, checked_address, resolve
from streamapp.sinks.alerts.alert import Alert
from streamapp.sinks.alerts.channel import Refused
from streamapp.sinks.alerts.settings import WebhookSettings
from streamapp.sinks.protocol import Retryable

SIGNATURE_HEADER: Final = "X-Streamapp-Signature"

#: The receiver, or what stands before it, is away or asks for patience.
_AWAY: Final = {408, 429, 502, 503, 504}
#: An answer's body is of no interest; one this small is read so that the connection can be reused.
_BODY_BYTES_MAX: Final = 16_384


def signature(secret: bytes, time_s: int, body: bytes) -> str:
    """The value of the signature header."""
    mac = hmac.new(secret, f"{time_s}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={time_s},v1={mac}"


class WebhookChannel:
    """POSTs each alert; `clock` gives Unix seconds for the signature only."""

    def __init__(
        self,
        settings: WebhookSettings,
        clock: Callable[[], float],
        resolver: Resolver = resolve,
    ) -> None:
        assert settings.url is not None
        assert settings.secret is not None
        self._settings = settings
        self._clock = clock
        self._resolver = resolver
        self._url = urlsplit(settings.url.get_secret_value())
        self._secret = settings.secret.get_secret_value().encode()
        self._failed: tuple[str, int] = ("", 0)
        # trust_env: a proxy from the environment would resolve the name again, unchecked.
        self._client = httpx.Client(
            timeout=settings.timeout_s, follow_redirects=False, trust_env=False
        )

    def send(self, alert: Alert, trace: TraceContext = NO_TRACE) -> None:
        """Deliver. Raises Retryable while the receiver is away, Refused when it says no."""
        try:
            status, retry_after_s = self._post(alert, trace)
        except httpx.TransportError as error:
            raise Retryable(f"the webhook is away: {type(error).__name__} {error}") from error
        if 200 <= status < 300:
            return
        if status in _AWAY:
            raise Retryable(f"the webhook answered {status}", retry_after_s)
        if status < 500 or self._given_up(alert.verdict_id):
            raise Refused(f"the webhook answered {status}")
        raise Retryable(f"the webhook answered {status}", retry_after_s)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _post(self, alert: Alert, trace: TraceContext) -> tuple[int, float | None]:
        url = self._url
        port = url.port or (443 if url.scheme == "https" else 80)
        host = url.hostname or ""
        address = checked_address(host, port, self._settings.allow_private, self._resolver)
        literal = f"[{address}]" if ":" in address else address
        path = url.path or "/"
        body = msgspec.json.encode(alert)
        with self._client.stream(
            "POST",
            f"{url.scheme}://{literal}:{port}{path}" + (f"?{url.query}" if url.query else ""),
            content=body,
            headers={**self._headers(alert, body), **trace.headers()},
            extensions={"sni_hostname": host},
        ) as response:
            if int(response.headers.get("content-length") or _BODY_BYTES_MAX) < _BODY_BYTES_MAX:
                # The status has arrived: a body cut short must not repeat the alert.
                with suppress(httpx.TransportError):
                    response.read()
            return response.status_code, self._retry_after(response)

    def _headers(self, alert: Alert, body: bytes) -> dict[str, str]:
        return {
            "Host": self._url.netloc,
            "Content-Type": "application/json",
            "User-Agent": "streamapp",
            SIGNATURE_HEADER: signature(self._secret, int(self._clock()), body),
            # Kafka's topic names pass unchanged; the quoting keeps anything else out of a header.
            "Idempotency-Key": quote(alert.verdict_id, safe=""),
        }

    def _retry_after(self, response: httpx.Response) -> float | None:
        """Seconds from a Retry-After header, bounded; its date form counts as absent."""
        text = response.headers.get("retry-after", "")
        if not text.isascii() or not text.isdigit():
            return None
        return min(float(text[:9]), self._settings.retry_after_s_max)

    def _given_up(self, verdict_id: str) -> bool:
        """Count a failed answer for this alert; True at the last one allowed."""
        count = self._failed[1] + 1 if self._failed[0] == verdict_id else 1
        self._failed = (verdict_id, count)
        return count >= self._settings.attempts_max
