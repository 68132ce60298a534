"""The limit on refusals: runs reach over batches, shares are looked at once per window."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamapp.engine.dead_letter_limit import DeadLetterLimit, DeadLetterLimitError


def outcome(limit: DeadLetterLimit, refused: list[bool], sizes: list[int]) -> bool:
    """Whether the records, cut into batches of these sizes (the last goes on), pass the limit."""
    start = 0
    upcoming = iter(sizes)
    size = sizes[-1]
    try:
        while start < len(refused):
            size = next(upcoming, size)
            batch = refused[start : start + size]
            limit.count(len(batch), [row for row, is_bad in enumerate(batch) if is_bad])
            start += size
    except DeadLetterLimitError:
        return False
    return True


def longest_run(refused: list[bool]) -> int:
    """Most refusals in a row."""
    text = "".join("x" if is_bad else "." for is_bad in refused)
    return max(map(len, text.split(".")))


@given(
    st.lists(st.booleans(), max_size=60),
    st.lists(st.integers(1, 9), min_size=1, max_size=9),
    st.integers(1, 8),
)
def test_a_run_counts_the_same_wherever_batches_are_cut(
    refused: list[bool], sizes: list[int], run_max: int
) -> None:
    """It is passed when more than `run_max` records in a row were refused, and only then."""
    limit = DeadLetterLimit(run_max, share_max=1.0, window=10_000)
    assert (longest_run(refused) <= run_max) == outcome(limit, refused, sizes)


def test_a_run_over_two_batches_is_one_run() -> None:
    """Three at the end and two at the beginning of the next are five in a row."""
    limit = DeadLetterLimit(run_max=4, share_max=1.0, window=10_000)
    limit.count(5, [2, 3, 4])
    with pytest.raises(DeadLetterLimitError, match="more than 4 records in a row were refused"):
        limit.count(3, [0, 1])


def test_the_share_is_that_of_a_whole_window() -> None:
    """Early refusals are no share of anything; at the window's end more than the share stops."""
    limit = DeadLetterLimit(run_max=100, share_max=0.5, window=10)
    limit.count(6, [0, 1, 2, 3, 4, 5])
    with pytest.raises(DeadLetterLimitError, match=r"6 of the last 10 records were refused"):
        limit.count(4, [])


def test_the_share_itself_is_allowed() -> None:
    """Exactly the share passes."""
    limit = DeadLetterLimit(run_max=100, share_max=0.5, window=10)
    limit.count(10, [0, 2, 4, 6, 8])
    assert 0 == limit.refused


def test_a_new_window_starts_from_nothing() -> None:
    """What the last window allowed is not held against the next one."""
    limit = DeadLetterLimit(run_max=100, share_max=0.5, window=10)
    for _ in range(5):
        limit.count(10, [0, 1, 2, 3, 4])
    limit.count(9, list(range(9)))
    with pytest.raises(DeadLetterLimitError, match="9 of the last 10"):
        limit.count(1, [])


@pytest.mark.parametrize(
    ("rows", "variable"),
    [(3, "STREAMAPP_WORKER__DEAD_LETTER_RUN_MAX"), (9, "STREAMAPP_WORKER__DEAD_LETTER_SHARE_MAX")],
)
def test_the_message_names_the_setting(rows: int, variable: str) -> None:
    """The operator reads what to mend and which setting to raise."""
    limit = DeadLetterLimit(run_max=2, share_max=0.1, window=9)
    refused = list(range(rows)) if rows == 3 else [0, 4]
    with pytest.raises(DeadLetterLimitError, match=f"mend their producer or raise {variable}"):
        limit.count(rows, refused)
