"""Settings of a worker."""

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr

from streamapp.domain.verdict import Severity

Guarantee = Literal["exactly_once", "at_least_once"]
GuaranteeWish = Literal["auto", "exactly_once", "at_least_once"]


class WorkerSettings(BaseModel):
    """How one worker runs. Every bound has its reason beside it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: Consumer group; also the prefix of the changelog topic.
    group: str = Field(default="streamapp", pattern=r"^[A-Za-z0-9._-]{1,100}$")
    #: auto is exactly_once where the broker has transactions, else at_least_once; asked once at
    #: start and said in the log. exactly_once ends the worker with code 2 where it has none. Under
    #: exactly_once readers must read committed records only.
    guarantee: GuaranteeWish = "auto"
    #: RocksDB directories, one for each partition.
    state_dir: Path = Path(".streamapp/state")
    #: The model artifact; empty means the one shipped with the package.
    model_dir: Path | None = None
    #: Where published risk windows stand, the same files for all workers; empty: none are taken
    #: over. Not under at_least_once, where a repeated verdict could have other windows.
    risk_windows_dir: Path | None = None
    #: From this severity on a verdict carries reasons, of which each costs more than scoring;
    #: null: none does.
    explain_severity: Severity | None = Severity.MEDIUM
    #: Time zone for hours and weekdays, as an IANA name.
    time_zone: str = "UTC"
    #: Records of one partition scored at once. Over 1,024 the caches of the CPU lose; under 64
    #: the fixed costs show.
    batch_records_max: int = Field(default=512, ge=1, le=1024)
    #: Oldest work that may be lost from memory and done again after a crash; under exactly_once
    #: also what readers of committed records may wait for. Half of it is enough where nothing waits
    #: to be scored.
    checkpoint_interval_ms: int = Field(default=30, ge=1, le=60_000)
    #: Distinct profiles of one checkpoint, 1 KiB each: bounds what a crash does again and what a
    #: commit sends. Under at_least_once no more than fit one record batch of 2 MiB.
    checkpoint_profiles_max: int = Field(default=4_096, ge=1, le=100_000)
    #: Profiles of one partition kept in memory, 1 KiB each.
    cache_profiles_max: int = Field(default=50_000, ge=2_048)
    #: After this silence the group gives a worker's partitions to others.
    session_timeout_s: float = Field(default=6.0, ge=1, le=300)
    #: A transaction of a worker that hangs is aborted after this by the broker: until then readers
    #: of committed records wait behind it. Above any checkpoint, below the broker's own maximum.
    transaction_timeout_s: float = Field(default=60.0, ge=1, le=900)
    #: Time for the last checkpoint when a partition is taken away or the worker stops.
    shutdown_timeout_s: float = Field(default=10.0, ge=0.1, le=300)
    #: Records wait and no offset moves for this long: the worker exits, to be started again.
    stall_timeout_s: float = Field(default=60.0, ge=5, le=3600)
    #: Loopback by default: health and metrics name no user, but need not be public.
    http_host: str = "127.0.0.1"
    #: Port of /healthz, /readyz and /metrics; 0 takes a free one, null serves none.
    http_port: int | None = Field(default=6066, ge=0, le=65_535)
    #: Shared by workers and API: with it the API may ask the owner of a user's partition for the
    #: profile and for what-if, at `http_port`. Without it nobody may. It travels in a header: the
    #: network between has to be yours.
    api_secret: SecretStr | None = Field(default=None, min_length=32)
    #: Host at which the API finds this worker; null: the one it reaches the broker from.
    advertised_host: str | None = Field(default=None, pattern=r"^[A-Za-z0-9._:-]{1,253}$")
    #: Refused in a row, or this share of the last `dead_letter_window` records: the partition
    #: stops, since a broken producer is likelier than so many broken payments.
    dead_letter_run_max: int = Field(default=1_000, ge=1)
    dead_letter_share_max: float = Field(default=0.5, gt=0, le=1)
    dead_letter_window: int = Field(default=10_000, ge=100)
    #: Static membership: a restart within the session timeout causes no rebalance.
    instance_id: str | None = None
