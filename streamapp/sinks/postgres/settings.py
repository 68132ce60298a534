"""Where the database is and how long to wait for it."""

from pydantic import BaseModel, ConfigDict, Field, SecretStr


class PostgresSettings(BaseModel):
    """Connection of the PostgreSQL sink. The address holds a password, so it is a secret."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: libpq connection string or URI.
    dsn: SecretStr = SecretStr("postgresql://127.0.0.1:5432/streamapp")
    schema_name: str = Field(default="public", pattern=r"^[a-z_][a-z0-9_]{0,62}$")
    #: Apply outstanding migrations on start. Switch off where the sink may not create tables,
    #: and run `streamapp sink migrate` with a role that may.
    migrate_on_start: bool = True
    connect_timeout_s: int = Field(default=5, ge=2, le=30)
    statement_timeout_s: int = Field(default=30, ge=1, le=60)
