"""W3C trace context, carried from a transaction to its verdict, and on to whom it alerts."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

_PARENT: Final = re.compile(
    r"(?!ff)[0-9a-f]{2}-(?!0{32})(?P<trace>[0-9a-f]{32})-(?!0{16})(?P<span>[0-9a-f]{16})"
    r"-(?P<flags>[0-9a-f]{2})"
)
_STATE: Final = re.compile(r"[\x20-\x7e]{1,512}")
_SAMPLED: Final = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """`traceparent` and `tracestate`, valid or empty. Neither names a person."""

    parent: str = ""
    state: str = ""

    @classmethod
    def of(cls, parent: str | None, state: str | None) -> "TraceContext":
        """What was given, as far as it is valid; a state without a parent is none."""
        if not parent or not _PARENT.fullmatch(parent):
            return NO_TRACE
        return cls(parent, state if state and _STATE.fullmatch(state) else "")

    @classmethod
    def of_headers(cls, headers: Iterable[tuple[str, object]]) -> "TraceContext":
        """That of a record's headers, the first of each name."""
        found: dict[str, str] = {}
        for name, value in headers:
            if name in ("traceparent", "tracestate") and isinstance(value, bytes):
                found.setdefault(name, value.decode("latin-1"))
        return cls.of(found.get("traceparent"), found.get("tracestate"))

    def headers(self) -> dict[str, str]:
        """By name; empty where there is none."""
        named = {"traceparent": self.parent, "tracestate": self.state}
        return {name: value for name, value in named.items() if value}

    @property
    def ids(self) -> tuple[int, int, bool] | None:
        """Trace id, span id, and whether the trace is sampled; None where there is none."""
        found = _PARENT.fullmatch(self.parent)
        if found is None:
            return None
        return (
            int(found["trace"], 16),
            int(found["span"], 16),
            bool(int(found["flags"], 16) & _SAMPLED),
        )


NO_TRACE: Final = TraceContext()
