"""Durations as people write them on the command line."""

from typing import Final

from streamapp.cli.errors import UsageError

_UNITS_MS: Final = {"d": 86_400_000, "h": 3_600_000}


def duration_ms(option: str, words: str) -> int:
    """Milliseconds of `7d` or `36h`. Raises UsageError, naming the option."""
    number, unit = words[:-1], words[-1:]
    if not number.isdecimal() or unit not in _UNITS_MS:
        raise UsageError(f"{option} is {words!r}: give days or hours, as in 7d or 36h")
    return int(number) * _UNITS_MS[unit]
