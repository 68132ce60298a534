"""Settings of the HTTP API."""

from pathlib import Path
from typing import Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

#: Signatures that only the holder of a private key can make. The HS family is left out for good:
#: with it a public key would do as the secret.
_ALGORITHM: Final = "(RS256|RS384|RS512|PS256|ES256|ES384|EdDSA)"


class JwtSettings(BaseModel):
    """Tokens of an identity provider (OIDC). None are taken unless all three addresses are set."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Must equal the token's `iss`.
    issuer: str | None = None
    #: Must be in the token's `aud`.
    audience: str | None = None
    #: Where the provider publishes its public keys; https, or http on the loopback.
    jwks_url: str | None = Field(
        default=None, pattern=r"^(https://|http://(127\.0\.0\.1|localhost)[:/])"
    )
    #: Signature algorithms that are taken, with commas between: of RS256, RS384, RS512, PS256,
    #: ES256, ES384, EdDSA.
    algorithms: str = Field(default="RS256,ES256", pattern=rf"^{_ALGORITHM}(,{_ALGORITHM})*$")
    #: Claim with the scopes: a text with spaces between, or a list.
    scope_claim: str = "scope"
    #: How far the provider's clock may be off.
    leeway_s: float = Field(default=10, ge=0, le=120)

    @model_validator(mode="after")
    def _all_or_nothing(self) -> Self:
        given = [self.issuer, self.audience, self.jwks_url]
        if any(given) and not all(given):
            raise ValueError("issuer, audience and jwks_url belong together: set all three or none")
        return self

    @property
    def is_on(self) -> bool:
        """Whether tokens are taken at all."""
        return self.issuer is not None


class ApiSettings(BaseModel):
    """How the HTTP API runs. Every bound has its reason beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Loopback by default. Elsewhere put TLS in front: keys travel in a header.
    host: str = "127.0.0.1"
    #: 0 takes a free one and logs it.
    port: int = Field(default=8090, ge=0, le=65_535)
    #: Hashes of the API keys, made by `streamapp keys create`; read again when it changes.
    keys_file: Path = Path(".streamapp/keys.json")
    #: Serve /metrics without a key, as workers do; else it takes scope read.
    metrics_public: bool = False
    #: Requests a second of one key, transactions of a batch counted singly.
    rate_per_s: float = Field(default=500, gt=0, le=1_000_000)
    #: How many of them may come at once; a batch of 1,000 has to fit.
    rate_burst: int = Field(default=2_000, ge=1_000, le=1_000_000)
    #: Requests of one key under way at the same time.
    concurrency_max: int = Field(default=64, ge=1, le=10_000)
    #: How late the process may be with what is due before it refuses what comes, with 503.
    late_max_s: float = Field(default=0.5, ge=0.01, le=60)
    #: Longest wait for a verdict; after it the answer is 202 with a link.
    score_timeout_s: float = Field(default=2.0, gt=0, le=60)
    #: Transactions of all callers that wait for their verdict.
    waiting_max: int = Field(default=10_000, ge=1_000, le=1_000_000)
    #: Newest verdicts kept in memory, 2.4 KB each; read back from the topic at a start.
    recent_verdicts_max: int = Field(default=50_000, ge=1_000, le=5_000_000)
    #: Where older verdicts are looked up: nowhere, or in the table of the PostgreSQL sink.
    store: Literal["memory", "postgres"] = "memory"
    #: Consoles that listen at the same time.
    streams_max: int = Field(default=32, ge=1, le=1_000)
    #: Time for requests under way when the process is told to stop.
    shutdown_timeout_s: float = Field(default=5.0, ge=0.1, le=60)
    #: How far it steps back for others that want the same cores, a worker above all (nice(2)).
    niceness: int = Field(default=10, ge=0, le=19)
    jwt: JwtSettings = JwtSettings()
