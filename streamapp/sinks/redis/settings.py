"""Where Redis is and how long its entries live."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class RedisSettings(BaseModel):
    """Connection of the Redis sink. The address may hold a password, so it is a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: redis://, rediss:// or unix:// URL.
    url: SecretStr = SecretStr("redis://127.0.0.1:6379/0")
    key_prefix: str = Field(default="streamapp:user:", min_length=1, max_length=100)
    #: Entries of users without verdicts for this long disappear. 30 days by default, the longest
    #: window of a profile.
    expiry_s: int = Field(default=30 * 86_400, ge=1, le=400 * 86_400)
    timeout_s: float = Field(default=5.0, gt=0, le=30)
    #: Users per round trip.
    pipeline_max: int = Field(default=500, ge=1, le=10_000)
