"""Where files go and when one is complete."""

from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field


class ParquetSettings(BaseModel):
    """A file is complete at the first of these bounds: rows, bytes, age."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    directory: Path = Path("verdicts")
    file_rows_max: int = Field(default=100_000, ge=1, le=10_000_000)
    #: In memory, before compression, which makes about a tenth of it.
    file_bytes_max: int = Field(default=128 * 2**20, ge=2**20, le=2**32)
    #: Of all partitions together; beyond it the largest buffer becomes a file.
    buffer_bytes_max: int = Field(default=256 * 2**20, ge=2**20, le=2**34)
    #: Age of the oldest row in memory, in seconds; also how stale readers may see the files.
    file_age_s_max: float = Field(default=60.0, gt=0, le=86_400)
    row_group_rows: int = Field(default=65_536, ge=1, le=1_000_000)
    compression_level: int = Field(default=3, ge=1, le=19)
