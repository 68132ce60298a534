"""The HTTP API beside a running worker on Kafka: its own latency, and what it costs the stream.

    python -m benchmarks.api_latency [--runs 3] [--seconds 10] [--quick]

Three questions on one worker, everything (client, API, worker, broker, generator, reader) on the
same cores:

- POST /v1/score at 200 requests a second, beside the stream's own latency: of the same
  transactions, from their sending by the API to a reader of committed verdicts;
- payments at 2,000 a second with and without 1,000 API requests a second: latency of the payments;
- as many payments as the worker takes, with and without: payments a second.

The API runs all along. With and without alternate. Open loop: what is due is due.
"""

import json
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import httpx
import msgspec
import numpy as np
import typer

from benchmarks import api_load
from benchmarks.api_load import MIX, SCORES, Outcome
from benchmarks.contender import BenchmarkError
from benchmarks.crowd import Crowd
from benchmarks.latency_figures import Latency, latency
from benchmarks.paced import SKIP_S
from benchmarks.processes import STOP_TIMEOUT_S, end, module
from benchmarks.report import conditions, console, median_of, table, write
from benchmarks.session import Session
from benchmarks.stand import Stand
from streamapp.api.access import Scope
from streamapp.api.keys import KeyFile, utc_now
from streamapp.broker.network import free_port
from streamapp.broker.waiting import wait_until

SCORE_RATE, REQUEST_RATE, STREAM_RATE = 200, 1_000, 2_000
BATCHES, BATCH = 5, 1_000
READY_S = 120.0
#: More than any worker here scores in a second.
_PER_S_MAX = 60_000


class Scored(msgspec.Struct, frozen=True):
    """POST /v1/score at a rate, and the same transactions in the stream."""

    api: Outcome
    stream: Latency


class Paced(msgspec.Struct, frozen=True):
    """Payments at a rate; requests: None without. cores: CPU seconds a second by process."""

    requests: Outcome | None
    stream: Latency
    cores: dict[str, float]


class Loaded(msgspec.Struct, frozen=True):
    """As many payments as the worker takes."""

    requests: Outcome | None
    per_s: float
    cores: dict[str, float]


class Api:
    """The API under measurement, and requests to it."""

    def __init__(self, session: Session, stack: ExitStack) -> None:
        self._session = session
        self._port = free_port()
        self._number = 0
        directory = session.stand.directory
        settings = {
            "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": session.stand.bootstrap_servers,
            "STREAMAPP_TOPICS__PREFIX": session.prefix,
            "STREAMAPP_API__PORT": str(self._port),
            "STREAMAPP_API__KEYS_FILE": str(directory / "keys.json"),
            "STREAMAPP_API__RATE_PER_S": "100000",
            "STREAMAPP_API__RATE_BURST": "100000",
            "STREAMAPP_API__CONCURRENCY_MAX": "1000",
            "STREAMAPP_API__RECENT_VERDICTS_MAX": "200000",
        }
        session.start_process(stack, "api", [sys.executable, "-m", "streamapp", "api"], settings)
        keys = KeyFile(directory / "keys.json")
        scopes = frozenset({Scope.SCORE, Scope.READ})
        self._key, _ = keys.create("benchmark", scopes, timedelta(hours=1), utc_now())
        if not wait_until(self._is_ready, READY_S):
            raise BenchmarkError("the API is not ready")
        self._timestamp = json.loads(session.first_payment())["timestamp"]

    def _is_ready(self) -> bool:
        try:
            return httpx.get(f"http://127.0.0.1:{self._port}/readyz").status_code == 200
        except httpx.TransportError:
            return False

    def start(self, rate: float, seconds: float, mix: dict[str, int]) -> "subprocess.Popen[bytes]":
        """Begin to ask."""
        self._number += 1
        plan = api_load.Plan(
            port=self._port,
            key=self._key,
            rate=rate,
            seconds=seconds,
            mix=mix,
            name=f"{self._session.prefix}{self._number}",
            timestamp=self._timestamp,
        )
        return subprocess.Popen(module("api_load", plan), stdout=subprocess.PIPE)

    def outcome(self, asking: "subprocess.Popen[bytes]") -> Outcome:
        """What was answered, when all is; its transactions count as sent."""
        try:
            told, _ = asking.communicate(timeout=STOP_TIMEOUT_S + 120)
        finally:
            end(asking)
        if asking.returncode:
            raise BenchmarkError("the requests broke off")
        found = msgspec.json.decode(told, type=Outcome)
        self._taken(found.taken)
        return found

    def batch(self) -> dict[str, float]:
        """Transactions of a batch that were answered, and milliseconds to the whole answer."""
        self._number += 1
        payments = [
            {"tx_id": f"batch{self._number}-{n}", "user_id": f"api-{n}", "amount": 5.0 + n % 97}
            for n in range(BATCH)
        ]
        body = {"transactions": [{**one, "timestamp": self._timestamp} for one in payments]}
        started = time.perf_counter()
        answer = httpx.post(
            f"http://127.0.0.1:{self._port}/v1/score/batch",
            json=body,
            headers={"Authorization": f"Bearer {self._key}"},
            timeout=STOP_TIMEOUT_S,
        )
        took_ms = (time.perf_counter() - started) * 1e3
        statuses = [one["status"] for one in answer.json()["results"]]
        self._taken(sum(status in (200, 202) for status in statuses))
        return {"answered": sum(status == 200 for status in statuses), "ms": round(took_ms, 1)}

    def _taken(self, transactions: int) -> None:
        self._session.tally["sent"] += transactions
        self._session.await_read()


def main(
    runs: Annotated[int, typer.Option(min=1, max=20, help="Of each, alternating.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Of each run.")] = 10.0,
    quick: Annotated[bool, typer.Option("--quick", help="One run of 4 s each.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where the raw figures go.")] = None,
) -> None:
    """Measure, print, write."""
    runs, seconds = (1, 4.0) if quick else (runs, seconds)
    rows = int(runs * (seconds + SKIP_S) * 2 * (STREAM_RATE + _PER_S_MAX))
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        Stand.started("kafka", Path(directory)) as stand,
        stand.session("api", crowd=Crowd(users=10_000), rows_max=rows) as session,
        ExitStack() as stack,
    ):
        session.warm_up()
        figures = _measure(session, Api(session, stack), runs, seconds)
    settings = {
        "runs": runs,
        "seconds": seconds,
        "score_rate": SCORE_RATE,
        "request_rate": REQUEST_RATE,
        "mix": MIX,
        "stream_rate": STREAM_RATE,
        "users": 10_000,
        "guarantee": "exactly_once",
    }
    write("api", figures, settings, stand, output)
    _print(figures, conditions(stand, runs))


def _measure(session: Session, api: Api, runs: int, seconds: float) -> dict[str, Any]:
    api.outcome(api.start(SCORE_RATE, 3.0, SCORES))  # warms up
    scored = [api.outcome(api.start(SCORE_RATE, seconds, SCORES)) for _ in range(runs)]
    batches = [api.batch() for _ in range(BATCHES)]
    paced, loaded = [], []
    for number in range(runs):
        for is_asked in (False, True) if number % 2 else (True, False):
            paced.append(_paced(session, api, seconds, is_asked=is_asked))
            loaded.append(_loaded(session, api, seconds, is_asked=is_asked))
    times = session.end_reader("read_committed")
    return {
        "scores": [Scored(one, _latency(times, one.start_us, one.end_us)) for one in scored],
        "batches": batches,
        "paced": [
            Paced(asked, _latency(times, start_us, end_us), cores)
            for asked, start_us, end_us, cores in paced
        ],
        "loaded": loaded,
    }


def _latency(times: "np.ndarray[Any, Any]", start_us: int, end_us: int) -> Latency:
    return latency(times[times[:, 0] > 0], start_us, end_us)


def _paced(
    session: Session, api: Api, seconds: float, *, is_asked: bool
) -> tuple[Outcome | None, int, int, dict[str, float]]:
    asking = api.start(REQUEST_RATE, seconds + 2 * SKIP_S, MIX) if is_asked else None
    sent, used = session.send(rate=STREAM_RATE, seconds=seconds + SKIP_S, skip_s=SKIP_S)
    outcome = api.outcome(asking) if asking else None
    session.await_read()
    start_us = sent.start_us + int(SKIP_S * 1e6)
    return outcome, start_us, start_us + int(seconds * 1e6), used.cores()


def _loaded(session: Session, api: Api, seconds: float, *, is_asked: bool) -> Loaded:
    asking = api.start(REQUEST_RATE, seconds + 2 * SKIP_S, MIX) if is_asked else None
    _, used = session.send(seconds=seconds + SKIP_S, skip_s=SKIP_S)
    outcome = api.outcome(asking) if asking else None
    session.await_read()
    return Loaded(outcome, round(used.per_s, 1), used.cores())


def _print(figures: dict[str, Any], caption: str) -> None:
    scores, paced, loaded = figures["scores"], figures["paced"], figures["loaded"]
    rows = [
        ("POST /v1/score", *_row([one.api.kinds["score"] for one in scores])),
        ("the same in the stream", *_row([one.stream for one in scores])),
    ]
    for title, is_asked in (("payments alone", False), ("with requests", True)):
        chosen = [one for one in paced if (one.requests is not None) is is_asked]
        rows.append((f"{title}, at {STREAM_RATE:,}/s", *_row([one.stream for one in chosen])))
    asked = [one.requests for one in (*paced, *loaded) if one.requests]
    rows += [
        (f"GET or POST: {kind}", *_row([one.kinds[kind] for one in asked if kind in one.kinds]))
        for kind in MIX
    ]
    table("HTTP API, ms", caption, ["", "p50", "p95", "p99"], rows)
    alone, beside = (
        median_of([one for one in loaded if (one.requests is not None) is is_asked], _per_s)
        for is_asked in (False, True)
    )
    console.print(
        f"{alone:,.0f} payments a second alone, {beside:,.0f} beside {REQUEST_RATE:,} requests a "
        f"second: {beside / alone:.2f}; requests answered a second: "
        f"{median_of(asked, lambda one: one.per_s):,.0f}"
    )


def _per_s(one: Loaded) -> float:
    return one.per_s


def _row(found: list[Any]) -> list[str]:
    return [
        f"{median_of(found, lambda one, name=name: getattr(one, name)):.1f}"  # type: ignore[misc]
        for name in ("p50", "p95", "p99")
    ]


if __name__ == "__main__":
    typer.run(main)
