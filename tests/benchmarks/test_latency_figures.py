"""Latencies: percentiles over a window of intended send times, and the pauses in it."""

import numpy as np

from benchmarks.latency_figures import latency


def test_only_payments_of_the_window_count() -> None:
    """A payment belongs to the moment it was due, not to the one its verdict came."""
    sent_us = np.arange(1_000, dtype=np.int64) * 1_000
    times = np.column_stack([sent_us, sent_us + 5_000])
    found = latency(times, 100_000, 900_000)
    assert (800, 5.0, 5.0, 0) == (found.payments, found.p50, found.max, found.over_250_ms)


def test_a_pause_delays_all_that_fell_due_in_it() -> None:
    """Half a second without a verdict is one pause, told by its start, length and worst."""
    sent_us = np.arange(3_000, dtype=np.int64) * 1_000
    read_us = np.where((sent_us >= 1_000_000) & (sent_us < 1_500_000), 1_500_000, sent_us + 2_000)
    found = latency(np.column_stack([sent_us, read_us]), 0, 3_000_000)
    assert 250 == found.over_250_ms
    [pause] = found.pauses
    assert (1.0, 250, 500.0) == (pause.at_s, pause.payments, pause.worst_ms)


def test_the_order_of_reading_does_not_matter() -> None:
    """Readers see partitions in any order."""
    sent_us = np.arange(500, dtype=np.int64) * 1_000
    times = np.column_stack([sent_us, sent_us + 300_000])
    mixed = np.random.default_rng(1).permutation(times)
    assert latency(times, 0, 500_000) == latency(mixed, 0, 500_000)
