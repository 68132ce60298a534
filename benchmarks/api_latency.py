"""The HTTP API beside a running worker on Kafka: its own latency, and what it costs the stream.

    python -m benchmarks.api_latency [--runs 3] [--seconds 10] [--quick]

Everything (client, API, worker, broker, generator, reader) is on the same cores:

- POST /v1/score at 200 requests a second, beside the stream's own latency: of the same
  transactions, from their sending by the API to a reader of committed verdicts;
- batches of 1,000;
- payments at 2,000 and at 5,000 a second, with and without 1,000 API requests a second in turn;
- once, as many payments as the worker takes, with and without.

The API runs all along. Open loop: what is due is due.
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
from numpy.typing import NDArray

from benchmarks import api_load
from benchmarks.api_figures import Run, Scored, medians
from benchmarks.api_load import MIX, SCORES, Outcome
from benchmarks.contender import BenchmarkError
from benchmarks.crowd import Crowd
from benchmarks.latency_figures import Latency, latency
from benchmarks.paced import SKIP_S
from benchmarks.processes import STOP_TIMEOUT_S, end, module
from benchmarks.report import conditions, console, table, write
from benchmarks.session import Session
from benchmarks.stand import Stand
from benchmarks.tables import api as tables
from streamapp.api.access import Scope
from streamapp.api.keys import KeyFile, utc_now
from streamapp.broker.network import free_port
from streamapp.broker.waiting import wait_until

SCORE_RATE, REQUEST_RATE, STREAM_RATES = 200, 1_000, (2_000, 5_000)
BATCHES, BATCH = 5, 1_000
USERS = 10_000
READY_S = 120.0
#: Requests begin before the payments do and end after them.
MARGIN_S = 3.0
#: More than any worker here scores in a second.
_PER_S_MAX = 60_000


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
    runs: Annotated[int, typer.Option(min=1, max=20, help="Of each, in turn.")] = 3,
    seconds: Annotated[float, typer.Option(min=1, help="Of each run.")] = 10.0,
    quick: Annotated[bool, typer.Option("--quick", help="One run of 4 s each.")] = False,
    output: Annotated[Path | None, typer.Option(help="Where the raw figures go.")] = None,
) -> None:
    """Measure, print, write."""
    runs, seconds = (1, 4.0) if quick else (runs, seconds)
    rows = int((seconds + SKIP_S) * 2 * (runs * sum(STREAM_RATES) + _PER_S_MAX))
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        Stand.started("kafka", Path(directory)) as stand,
        stand.session("api", crowd=Crowd(users=USERS), rows_max=rows) as session,
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
        "batch": BATCH,
        "users": USERS,
        "guarantee": "exactly_once",
    }
    write("api", figures, settings, stand, output)
    _print(msgspec.to_builtins(figures) | {"settings": settings}, conditions(stand, runs))


def _measure(session: Session, api: Api, runs: int, seconds: float) -> dict[str, Any]:
    api.outcome(api.start(SCORE_RATE, 3.0, SCORES))  # warms up
    scored = [api.outcome(api.start(SCORE_RATE, seconds, SCORES)) for _ in range(runs)]
    batches = [api.batch() for _ in range(BATCHES)]
    sent = [
        _send(session, api, seconds, rate, is_asked=is_asked)
        for number in range(runs)
        for rate in STREAM_RATES
        for is_asked in ((True, False) if number % 2 else (False, True))
    ]
    sent += [_send(session, api, seconds, 0, is_asked=is_asked) for is_asked in (False, True)]
    times = session.end_reader("read_committed")
    scores = [Scored(one, _latency(times, one.start_us, one.end_us)) for one in scored]
    found = [
        msgspec.structs.replace(run, stream=_latency(times, run.start_us, run.end_us))
        if run.rate
        else run
        for run in sent
    ]
    return {
        "medians": medians(scores, batches, found),
        "scores": scores,
        "batches": batches,
        "runs": found,
    }


def _latency(times: NDArray[np.int64], start_us: int, end_us: int) -> Latency:
    return latency(times[times[:, 0] > 0], start_us, end_us)


def _send(session: Session, api: Api, seconds: float, rate: int, *, is_asked: bool) -> Run:
    """Payments at a rate (0: as many as the worker takes), beside requests or alone."""
    asking = api.start(REQUEST_RATE, seconds + MARGIN_S, MIX) if is_asked else None
    sent, used = session.send(rate=rate, seconds=seconds + SKIP_S, skip_s=SKIP_S)
    requests = api.outcome(asking) if asking else None
    session.await_read()
    start_us, cores = sent.start_us + int(SKIP_S * 1e6), used.cores()
    if requests:
        cores["requests"] = requests.cores
        cores["others"] = round(cores["others"] - requests.cores, 2)
    return Run(
        rate=rate,
        requests=requests,
        events_per_s=round(used.per_s, 1),
        worker_cpu_us_per_event=used.per_event_us()["worker0"],
        cores=cores,
        generator_behind_ms_p99=sent.behind_ms_p99,
        start_us=start_us,
        end_us=start_us + int(seconds * 1e6),
    )


def _print(results: dict[str, Any], caption: str) -> None:
    for title, rows in (("HTTP API, ms", tables.api), ("The stream beside it", tables.load)):
        table(title, caption, [[cell.replace("`", "") for cell in row] for row in rows(results)])
    console.print("`make tables` writes them into docs/api.md", markup=False)


if __name__ == "__main__":
    typer.run(main)
