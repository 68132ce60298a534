"""Where alerts go and how often one user may cause one."""

from typing import Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, model_validator

from streamapp.domain.verdict import Severity


class WebhookSettings(BaseModel):
    """The receiver of alerts. Its address may carry a token, so it is a secret like the key."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    url: SecretStr | None = None
    #: Key of the HMAC-SHA256 signature, at least 16 characters.
    secret: SecretStr | None = None
    #: Allow private, loopback and link-local addresses, and http beside https.
    allow_private: bool = False
    timeout_s: float = Field(default=5.0, gt=0, le=5)
    #: Longest wait that a Retry-After answer is granted.
    retry_after_s_max: float = Field(default=60.0, ge=0, le=300)
    #: Answers of 500 and the like before an alert is given up. A receiver that is away (no
    #: connection, 408, 429, 502, 503, 504) does not count.
    attempts_max: int = Field(default=8, ge=1, le=100)

    @model_validator(mode="after")
    def _key_is_long(self) -> Self:
        if self.secret is not None and len(self.secret.get_secret_value()) < 16:
            raise ValueError("the webhook secret must have at least 16 characters")
        return self

    @model_validator(mode="after")
    def _address_is_usable(self) -> Self:
        if self.url is None:
            return self
        parts = urlsplit(self.url.get_secret_value())
        schemes = {"https", "http"} if self.allow_private else {"https"}
        if parts.scheme not in schemes or not parts.hostname:
            raise ValueError("the webhook url must be https:// (http:// only with allow_private)")
        if parts.username or parts.password:
            raise ValueError("the webhook url must not carry a user name or password")
        try:
            parts.port  # noqa: B018 - parsed on access
        except ValueError:
            # The library's message repeats part of the address.
            raise ValueError("the webhook url has no valid port") from None
        return self


class AlertSettings(BaseModel):
    """Which verdicts alert, through which channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    channel: Literal["console", "webhook"] = "console"
    min_severity: Severity = Severity.MEDIUM
    #: Event time after an alert in which the same user alerts again only at a higher severity.
    cooldown_s: int = Field(default=600, ge=0, le=30 * 86_400)
    #: Users whose cooldown is remembered; the least recent is forgotten first (200 bytes each).
    cooldown_users_max: int = Field(default=100_000, ge=1, le=10_000_000)
    #: Verdict ids remembered, so that a repeated verdict does not alert twice.
    ids_max: int = Field(default=200_000, ge=100_000, le=10_000_000)
    webhook: WebhookSettings = WebhookSettings()

    @model_validator(mode="after")
    def _webhook_is_complete(self) -> Self:
        if self.channel == "webhook" and not (self.webhook.url and self.webhook.secret):
            raise ValueError("channel webhook needs webhook url and webhook secret")
        return self
