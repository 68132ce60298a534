"""Medians of the API's benchmark, and the lines made of them."""

from benchmarks.api_figures import Run, Scored, medians
from benchmarks.api_load import Kind, Outcome
from benchmarks.latency_figures import Latency
from benchmarks.tables.api import api, load


def _latency(p50: float) -> Latency:
    return Latency(100, p50, 2 * p50, 3 * p50, 4 * p50, 5 * p50, 0, [])


def _outcome(**statuses: int) -> Outcome:
    counted = {name.removeprefix("http"): count for name, count in statuses.items()}
    kinds = {kind: Kind(counted, 1.0, 2.0, 3.0, 4.0) for kind in ("verdict", "user", "score")}
    return Outcome(kinds | {"anomalies": kinds["user"]}, 990.0, 10, 0, 1, 0.1)


def _run(p50: float, per_s: float, requests: Outcome | None, rate: int = 2_000) -> Run:
    return Run(
        rate=rate,
        requests=requests,
        events_per_s=per_s,
        worker_cpu_us_per_event=20.0,
        cores={},
        generator_behind_ms_p99=1.0,
        start_us=0,
        end_us=1,
        stream=_latency(p50) if rate else None,
    )


def _results() -> dict[str, object]:
    asked = _outcome(http200=99, http202=1)
    runs = [_run(10, 2_000, None), _run(15, 2_000, asked), _run(40, 2_000, asked)]
    runs += [_run(20, 2_000, None), _run(50, 30_000, None, 0), _run(60, 15_000, asked, 0)]
    scores = [Scored(_outcome(http200=200), _latency(5.0))]
    found = medians(scores, [{"answered": 1_000, "ms": 200.0}], runs)
    return {"medians": found, "settings": {"score_rate": 200, "batch": 1_000}}


def test_a_ratio_is_of_neighbouring_runs() -> None:
    """Whichever of a pair came first; the ratio's median is not that of the medians."""
    lines = load(_results())
    assert ("2,000/s", "ratio", "1.00", "1.75", "1.75", "1.00", "") == tuple(lines[3])
    assert ("without a limit", "ratio", "0.50", "", "", "1.00", "") == tuple(lines[6])


def test_what_was_not_answered_with_its_verdict_can_not_be_overlooked() -> None:
    """Beside requests and in the scores of their own."""
    assert "990 (99.0% with 200)" == load(_results())[2][-1]
    assert ("`POST /v1/score` at 200/s (200 of 200 with 200)", "1.0", "2.0", "3.0") == tuple(
        api(_results())[1]
    )


def test_each_route_has_its_line_at_each_rate() -> None:
    """But not without a limit, where it is the queue that is measured."""
    assert [
        "`GET /v1/verdicts/{tx_id}`, beside 2,000 payments/s",
        "`GET /v1/users/{id}/verdicts`, beside 2,000 payments/s",
        "`GET /v1/anomalies`, beside 2,000 payments/s",
        "`POST /v1/score`, beside 2,000 payments/s",
    ] == [line[0] for line in api(_results())[4:]]
