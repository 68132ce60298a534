"""The tables of docs/api.md."""

from collections.abc import Callable
from typing import Final

from benchmarks.tables.blocks import Results, Rows, Tables, from_results, markdown
from benchmarks.tables.performance import conditions

_MIX: Final = {
    "verdict": "`GET /v1/verdicts/{tx_id}`",
    "user": "`GET /v1/users/{id}/verdicts`",
    "anomalies": "`GET /v1/anomalies`",
    "score": "`POST /v1/score`",
}


def api(results: Results) -> Rows:
    """Latency of the routes, ms: without other load, then each of the mix at each rate."""
    found, settings = results["medians"], results["settings"]
    score, batch = found["score"], found["batch"]
    share = f"{score['answered']:,} of {score['requests']:,}"
    rows: Rows = [
        ("", "p50", "p95", "p99"),
        (f"`POST /v1/score` at {settings['score_rate']}/s ({share} with 200)", *_ms(score)),
        ("the same transactions in the stream", *_ms(found["score_stream"])),
        (
            f"`POST /v1/score/batch` of {settings['batch']:,} ({batch['batches']} batches, "
            f"{batch['answered']:,} transactions with 200)",
            f"{batch['ms']:,.1f}",
            "",
            "",
        ),
    ]
    for one in found["load"]:
        if one["rate"]:
            beside = f"beside {one['rate']:,} payments/s"
            rows += [
                (f"{title}, {beside}", *_ms(one["requests"][kind])) for kind, title in _MIX.items()
            ]
    return rows


def load(results: Results) -> Rows:
    """The stream without and with the requests, and the ratio."""
    rows: Rows = [
        ("payments", "", "scored/s", "p50", "p99", "worker, CPU µs", "requests answered/s")
    ]
    for one in results["medians"]["load"]:
        rate, ratios = f"{one['rate']:,}/s" if one["rate"] else "without a limit", one["ratios"]
        answered = one["statuses"]
        share = answered.get("200", 0) / sum(answered.values())
        rows += [
            (rate, "alone", *_figures(one["alone"]), ""),
            (
                rate,
                "with requests",
                *_figures(one["beside"]),
                f"{one['answered_per_s']:,.0f} ({share:.1%} with 200)",
            ),
            (rate, "ratio", *_figures(ratios, ".2f", ".2f"), ""),
        ]
    return rows


_COLUMNS: Final = ("events_per_s", "p50", "p99", "worker_cpu_us_per_event")


def _figures(side: dict[str, float], of_rate: str = ",.0f", of_others: str = ",.1f") -> list[str]:
    formats = (of_rate, *[of_others] * 3)
    shown = zip(_COLUMNS, formats, strict=True)
    return [format(side[name], kind) if name in side else "" for name, kind in shown]


def _ms(found: dict[str, float]) -> list[str]:
    return [f"{found[name]:,.1f}" for name in ("p50", "p95", "p99")]


def _table(rows: Callable[[Results], Rows], left: tuple[int, ...]) -> Callable[[], str]:
    return from_results(
        "api", lambda results: f"{markdown(rows(results), left)}\n\n{conditions(results)}"
    )


TABLES: Final[Tables] = {"api": _table(api, (0,)), "api_load": _table(load, (0, 1))}
