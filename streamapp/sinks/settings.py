"""Settings of the loop that drives any sink."""

from pydantic import BaseModel, ConfigDict, Field


class RunnerSettings(BaseModel):
    """Bounds of a sink's consumer loop. Times are in seconds."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Records per write: large enough to spread a round trip, small enough to retry cheaply.
    batch_records_max: int = Field(default=2_000, ge=1, le=100_000)
    #: How long a batch may wait to fill once its first record is there.
    linger_s: float = Field(default=0.1, ge=0, le=5)
    retry_first_s: float = Field(default=0.2, gt=0, le=60)
    retry_max_s: float = Field(default=30.0, gt=0, le=300)
    #: After an outage this long the process ends with an error; nothing is lost by that.
    outage_s_max: float = Field(default=3_600.0, gt=0)
    #: How long a stop may take to store what is in memory before it is left to the next start.
    shutdown_s_max: float = Field(default=20.0, gt=0, le=120)
    #: Client-side buffer of fetched records.
    fetch_kib_max: int = Field(default=32_768, ge=64, le=1_048_576)
    session_timeout_s: float = Field(default=45.0, ge=1, le=300)
    metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    metrics_host: str = "127.0.0.1"
