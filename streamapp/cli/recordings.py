"""Naming recorded traffic on the command line: a file, or a sample that ships."""

from pathlib import Path
from typing import Final

from streamapp.cli.errors import UsageError
from streamapp.replay.reader import row_count
from streamapp.replay.sample import NAMES, sample

_SAMPLE: Final = "sample:"


def recording_path(name: str) -> Path:
    """The file of a recording: a path, or `sample:` and the name of a shipped one."""
    if not name.startswith(_SAMPLE):
        return Path(name)
    wanted = name.removeprefix(_SAMPLE)
    if wanted not in NAMES:
        raise UsageError(f"no sample {wanted}, expected one of {', '.join(NAMES)}")
    return sample(wanted)


def rows_to_read(path: Path, limit: int | None = None, skip: int = 0) -> int | None:
    """How many rows will be read, where that is known before. Raises RecordedError."""
    rows = row_count(path)
    if rows is None:
        return limit
    return max(rows - skip, 0) if limit is None else min(max(rows - skip, 0), limit)
