"""Trace context: what is valid is carried as it came, nothing else is."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamapp.domain.trace_context import NO_TRACE, TraceContext

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{SPAN}-01"


def test_what_is_valid_is_kept() -> None:
    """As it came, with its ids and whether it is sampled."""
    found = TraceContext.of(PARENT, "vendor=a,other=b")
    assert {"traceparent": PARENT, "tracestate": "vendor=a,other=b"} == found.headers()
    assert (int(TRACE, 16), int(SPAN, 16), True) == found.ids
    assert {"traceparent": PARENT} == TraceContext.of(PARENT, None).headers()
    unsampled = TraceContext.of(f"00-{TRACE}-{SPAN}-02", "").ids
    assert unsampled is not None
    assert not unsampled[2]


@pytest.mark.parametrize(
    "parent",
    [
        None,
        "",
        "00-1",
        PARENT.upper(),
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"{PARENT}\n",
        f"{PARENT}\r\nX-Evil: 1",
    ],
)
def test_what_is_invalid_is_none(parent: str | None) -> None:
    """By the letter of the recommendation; a state alone is none either."""
    assert NO_TRACE == TraceContext.of(parent, "vendor=a")
    assert NO_TRACE.ids is None
    assert {} == NO_TRACE.headers()


@given(st.lists(st.tuples(st.sampled_from(["traceparent", "tracestate", "x"]), st.binary())))
def test_headers_of_records_never_fail(headers: list[tuple[str, bytes]]) -> None:
    """Whatever bytes they hold, what comes out may stand in an HTTP header."""
    for value in TraceContext.of_headers(headers).headers().values():
        assert value.isprintable()


def test_the_first_header_of_a_name_counts() -> None:
    """As in what a worker carries on."""
    headers = [("traceparent", PARENT.encode()), ("traceparent", b"00-1"), ("tracestate", b"\n")]
    assert TraceContext.of(PARENT, None) == TraceContext.of_headers(headers)
    assert NO_TRACE == TraceContext.of_headers(headers[1:])
