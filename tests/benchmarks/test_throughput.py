"""Figures of several workers are those of all together."""

from benchmarks.throughput import workers_as_one


def test_workers_count_as_one() -> None:
    """Whatever else ran stays by itself."""
    spent = {"worker0": 13.25, "broker": 9.0, "worker1": 14.5, "stolen": 0.1}
    assert {"workers": 27.75, "broker": 9.0, "stolen": 0.1} == workers_as_one(spent)
    assert {"workers": 13.25} == workers_as_one({"worker0": 13.25})
