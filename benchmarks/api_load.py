"""Load on the HTTP API: a process that asks at a rate, open loop, over kept connections.

Started by `benchmarks.api_latency`; argument: its `Plan` as JSON; standard output: its `Outcome`.
A request is due at its time whatever happens to those before it, waits for a free connection, and
runs to the whole answer. Protocol by hand: a client library would take as much CPU as the API.
"""

import asyncio
import itertools
import sys
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator

import msgspec
import numpy as np

#: Connections kept; each carries one request at a time.
CONNECTIONS = 64
#: Of 1,000 requests a second: what an analyst's and a checkout's services ask, mostly look-ups.
MIX = {"verdict": 850, "user": 50, "anomalies": 50, "score": 50}
SCORES = {"score": 1}

_TICK_S = 0.001
_ANSWER_S = 60.0
#: Verdicts asked for are of these many scores before: they are in the API's memory.
_KNOWN = 200
_USERS = 1_000


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What to ask. mix: shares of the kinds of request. name: begins each tx_id sent."""

    port: int
    key: str
    rate: float
    seconds: float
    mix: dict[str, int]
    name: str
    timestamp: str


class Kind(msgspec.Struct, frozen=True):
    """Answers to one kind of request: statuses, and ms from when it was due, of all."""

    statuses: dict[str, int]
    p50: float
    p95: float
    p99: float
    max: float


class Outcome(msgspec.Struct, frozen=True):
    """What was answered. taken: transactions that went into the stream. cores: of this process."""

    kinds: dict[str, Kind]
    per_s: float
    taken: int
    start_us: int
    end_us: int
    cores: float


class Request(msgspec.Struct, frozen=True):
    """What is asked, and when it is due. number: of the transaction, where it is a score."""

    kind: str
    content: bytes
    due_s: float
    number: int


Done = Callable[["Connection", Request, int, float], None]


class Connection(asyncio.Protocol):
    """One connection: a request, then its answer, then the next."""

    def __init__(self, done: Done) -> None:
        self._done = done
        self._buffer = b""
        self._request: Request | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def ask(self, request: Request) -> None:
        """Send a request; `done` is called with its answer's status and time."""
        self._request = request
        self._transport.write(request.content)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, end, body = self._buffer.partition(b"\r\n\r\n")
        if not end:
            return
        length = int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(body) < length:
            return
        self._buffer = b""
        request, self._request = self._request, None
        assert request is not None, "an answer has a request"
        self._done(self, request, int(head[9:12]), time.perf_counter() - request.due_s)

    def connection_lost(self, _error: Exception | None) -> None:
        if self._request:
            sys.exit(f"the API closed a connection that waited for {self._request.kind}")


class _Load:
    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._free: deque[Connection] = deque()
        self._waiting: deque[Request] = deque()
        self._statuses: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._took_s: defaultdict[str, list[float]] = defaultdict(list)
        self._numbers = itertools.count()
        self._known: deque[int] = deque(maxlen=_KNOWN)
        self._taken = 0

    async def run(self) -> Outcome:
        plan, loop = self._plan, asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            connection = Connection(self._answered)
            await loop.create_connection(lambda made=connection: made, "127.0.0.1", plan.port)
            self._free.append(connection)
        await self._ask_first()
        start_us, started = time.time_ns() // 1_000, time.perf_counter()
        cpu_before_s = time.process_time()
        await self._ask(started)
        await self._all_answered()
        seconds, cpu_s = time.perf_counter() - started, time.process_time() - cpu_before_s
        return self._outcome(start_us, seconds, cpu_s)

    async def _ask_first(self) -> None:
        """Have verdicts that can be asked for; not measured. What is refused is asked again."""
        deadline_s = time.perf_counter() + _ANSWER_S
        while len(self._known) < _KNOWN:
            if time.perf_counter() > deadline_s:
                sys.exit(f"only {len(self._known)} of {_KNOWN} first scores were answered")
            missing, now_s = _KNOWN - len(self._known), time.perf_counter()
            self._waiting += [self._request("score", now_s) for _ in range(missing)]
            self._send()
            await self._all_answered()
        self._statuses.clear()
        self._took_s.clear()

    async def _all_answered(self) -> None:
        deadline = time.perf_counter() + _ANSWER_S
        while len(self._free) < CONNECTIONS:
            if time.perf_counter() > deadline:
                sys.exit(f"no answer within {_ANSWER_S:.0f} s")
            await asyncio.sleep(_TICK_S)

    async def _ask(self, started: float) -> None:
        plan, kinds, asked = self._plan, self._kinds(), 0
        while asked < plan.rate * plan.seconds:
            due = int((time.perf_counter() - started) * plan.rate) + 1
            for number in range(asked, due):
                kind = next(kinds)
                self._waiting.append(self._request(kind, started + number / plan.rate))
            asked = max(asked, due)
            self._send()
            await asyncio.sleep(_TICK_S)

    def _kinds(self) -> Iterator[str]:
        """Kinds in a fixed shuffled order, by their shares."""
        kinds = [kind for kind, share in self._plan.mix.items() for _ in range(share)]
        np.random.default_rng(1).shuffle(kinds)
        return itertools.cycle(kinds)

    def _request(self, kind: str, due_s: float) -> Request:
        if kind == "score":
            number = next(self._numbers)
            return Request(kind, self._post(number), due_s, number)
        return Request(kind, self._get(kind), due_s, -1)

    def _get(self, kind: str) -> bytes:
        known = self._known[0]
        path = {
            "verdict": f"/v1/verdicts/{self._plan.name}-{known}",
            "user": f"/v1/users/api-{known % _USERS}/verdicts?limit=20",
            "anomalies": "/v1/anomalies?limit=20",
        }[kind]
        return f"GET {path} HTTP/1.1\r\n{self._headers()}\r\n".encode()

    def _post(self, number: int) -> bytes:
        body = msgspec.json.encode(
            {
                "tx_id": f"{self._plan.name}-{number}",
                "user_id": f"api-{number % _USERS}",
                "amount": 5.0 + number % 97,
                "timestamp": self._plan.timestamp,
            }
        )
        head = f"POST /v1/score HTTP/1.1\r\n{self._headers()}Content-Length: {len(body)}\r\n\r\n"
        return head.encode() + body

    def _headers(self) -> str:
        return f"Host: 127.0.0.1\r\nAuthorization: Bearer {self._plan.key}\r\n"

    def _send(self) -> None:
        while self._waiting and self._free:
            # In turn: the API closes a connection that is idle for some seconds.
            self._free.popleft().ask(self._waiting.popleft())

    def _answered(
        self, connection: Connection, request: Request, status: int, took_s: float
    ) -> None:
        self._statuses[request.kind][str(status)] += 1
        self._took_s[request.kind].append(took_s)
        if request.number >= 0 and status in (200, 202):
            self._known.append(request.number)  # after 202 the verdict is there somewhat later
            self._taken += 1
        self._free.append(connection)
        self._send()

    def _outcome(self, start_us: int, seconds: float, cpu_s: float) -> Outcome:
        return Outcome(
            kinds={kind: self._kind(kind) for kind in self._took_s},
            per_s=round(sum(map(len, self._took_s.values())) / seconds, 1),
            taken=self._taken,
            start_us=start_us,
            end_us=start_us + int(seconds * 1e6),
            cores=round(cpu_s / seconds, 2),
        )

    def _kind(self, kind: str) -> Kind:
        took_ms = np.array(self._took_s[kind]) * 1e3
        figures = [*np.percentile(took_ms, [50, 95, 99]), took_ms.max()]
        return Kind(dict(self._statuses[kind]), *(round(float(one), 2) for one in figures))


def main() -> None:
    """Ask, then say what was answered."""
    plan = msgspec.json.decode(sys.argv[1], type=Plan)
    sys.stdout.buffer.write(msgspec.json.encode(asyncio.run(_Load(plan).run())))


if __name__ == "__main__":
    main()
