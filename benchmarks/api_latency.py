"""POST /v1/score against a running worker on Kafka: open loop at a rate, beside the stream's own.

    python -m benchmarks.api_latency [--rate 200] [--seconds 20] [--runs 3]

A request is due at its time whatever happens to those before it. From there it runs to the whole
answer. The stream's own latency is of the same transactions: from their sending by the API to a
reader of committed verdicts beside it. Client, API, worker, broker and reader share the machine.
"""

import asyncio
import json
import os
import tempfile
import time
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any

import aiohttp
import numpy as np
import typer

from benchmarks.machine import machine, versions
from streamapp.api.access import Scope
from streamapp.api.keys import KeyFile, utc_now
from streamapp.broker import LocalBroker
from streamapp.broker.network import free_port
from streamapp.demo.audit import Audit
from streamapp.demo.processes import Child
from streamapp.kafka.settings import KafkaSettings, TopicSettings

RESULT = Path(__file__).parent / "results" / "api.json"
USERS = 1_000
START_MS = 1_546_300_800_000
READY_S = 120.0
STOP_S = 30.0
WARM_UP = 500
BATCHES, BATCH = 5, 1_000


class Client:
    """Sends payments one after another, each its own `tx_id`."""

    def __init__(self, session: aiohttp.ClientSession, url: str) -> None:
        self._session = session
        self._url = url
        self._number = 0

    def payment(self) -> dict[str, Any]:
        """The next payment, a second later than the one before."""
        self._number += 1
        return {
            "tx_id": f"b{self._number}",
            "user_id": f"u{self._number % USERS}",
            "amount": 5.0 + self._number % 97,
            "timestamp": START_MS + 1_000 * self._number,
        }

    async def score(self, due_s: float) -> tuple[int, float]:
        """Status and milliseconds from when it was due to the whole answer."""
        body = json.dumps(self.payment())
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        async with self._session.post(f"{self._url}/v1/score", data=body) as answer:
            await answer.read()
        return answer.status, (time.perf_counter() - due_s) * 1e3

    async def paced(self, rate: int, count: int) -> list[tuple[int, float]]:
        """That many at that rate."""
        start = time.perf_counter() + 0.1
        return await asyncio.gather(*(self.score(start + n / rate) for n in range(count)))

    async def batch(self) -> tuple[int, float]:
        """Answered transactions of a batch, and milliseconds to the whole answer."""
        body = json.dumps({"transactions": [self.payment() for _ in range(BATCH)]})
        started = time.perf_counter()
        async with self._session.post(f"{self._url}/v1/score/batch", data=body) as answer:
            results = (await answer.json())["results"]
        took_ms = (time.perf_counter() - started) * 1e3
        return sum(one["status"] == 200 for one in results), took_ms


def main(
    rate: Annotated[int, typer.Option(min=1, help="Requests a second.")] = 200,
    seconds: Annotated[int, typer.Option(min=1, help="Of each run.")] = 20,
    runs: Annotated[int, typer.Option(min=1, max=20)] = 3,
    output: Annotated[Path, typer.Option(help="Where the figures go.")] = RESULT,
) -> None:
    """Measure, print, write."""
    load = round(os.getloadavg()[0], 2)  # of other programs, before ours begin
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        broker = stack.enter_context(LocalBroker.start("kafka"))
        url, key = _started(broker, directory, stack)
        audit = Audit(KafkaSettings(bootstrap_servers=broker.bootstrap_servers), TopicSettings())
        stack.callback(audit.close)
        found = asyncio.run(_measured(url, key, audit, rate, seconds, runs))
    figures = {"rate": rate, "seconds": seconds, **found, "load_before": load, "machine": machine()}
    output.write_text(json.dumps({**figures, "versions": versions()}, indent=2) + "\n", "utf-8")
    print(json.dumps(found, indent=2))


def _started(broker: LocalBroker, directory: Path, stack: ExitStack) -> tuple[str, str]:
    """Worker and API, ready; the API's address and a key."""
    worker_port, api_port = free_port(), free_port()
    settings = {
        "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": broker.bootstrap_servers,
        "STREAMAPP_WORKER__STATE_DIR": str(directory / "state"),
        "STREAMAPP_WORKER__HTTP_PORT": str(worker_port),
        "STREAMAPP_API__PORT": str(api_port),
        "STREAMAPP_API__KEYS_FILE": str(directory / "keys.json"),
        "STREAMAPP_API__RATE_PER_S": "100000",
        "STREAMAPP_API__RATE_BURST": "100000",
        "STREAMAPP_API__CONCURRENCY_MAX": "5000",
    }
    for name, port in (("worker", worker_port), ("api", api_port)):
        child = Child(name, [name], settings, directory)
        stack.callback(child.stop, STOP_S)
        child.wait_ready(f"http://127.0.0.1:{port}/readyz", READY_S)
    keys = KeyFile(directory / "keys.json")
    key, _ = keys.create("benchmark", frozenset({Scope.SCORE}), timedelta(hours=1), utc_now())
    return f"http://127.0.0.1:{api_port}", key


async def _measured(
    url: str, key: str, audit: Audit, rate: int, seconds: int, runs: int
) -> dict[str, Any]:
    headers = {"Authorization": f"Bearer {key}"}
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(headers=headers, connector=connector) as session:
        client = Client(session, url)
        await client.paced(rate, WARM_UP)
        measured = [await _run(client, audit, rate, seconds) for _ in range(runs)]
        batches = [await client.batch() for _ in range(BATCHES)]
    return {
        "runs": measured,
        "batches": [{"answered": n, "ms": round(ms, 1)} for n, ms in batches],
    }


async def _run(client: Client, audit: Audit, rate: int, seconds: int) -> dict[str, Any]:
    first = len(audit.outputs.latencies_ms)
    answers = await client.paced(rate, rate * seconds)
    await asyncio.sleep(1)
    took = [ms for status, ms in answers if status == 200]
    return {
        "requests": len(answers),
        "answered_200": len(took),
        "api_ms": _percentiles(took),
        "stream_ms": _percentiles(audit.outputs.latencies_ms[first:]),
    }


def _percentiles(values: list[float]) -> dict[str, float]:
    found = np.percentile(values, [50, 95, 99])
    return dict(zip(("p50", "p95", "p99"), (round(float(v), 1) for v in found), strict=True))


if __name__ == "__main__":
    typer.run(main)
