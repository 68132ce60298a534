"""The way between processes and the broker: requests take time, get lost, stay unanswered."""

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from aiokafka.errors import (
    KafkaConnectionError,
    KafkaError,
    MessageSizeTooLargeError,
    NotEnoughReplicasError,
    RequestTimedOutError,
)

from tests.simulation.world import Process, World

#: What the engine gives its clients as `request_timeout_ms`.
REQUEST_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class Weather:
    """Shares of requests that meet each kind of trouble; the rest is answered in milliseconds."""

    slow: float = 0.0
    #: The connection breaks before, or after, the broker has done it.
    dropped: float = 0.0
    unheard: float = 0.0
    #: No answer at all: never done, done at once, or done long after the client gave up.
    swallowed: float = 0.0
    unanswered: float = 0.0
    late: float = 0.0
    #: Refused, for now (the client tries again) or for good.
    refused: float = 0.0
    rejected: float = 0.0

    @classmethod
    def drawn(cls, draw: random.Random) -> "Weather":
        """Some kinds of trouble and not others, so that each is met with and without the rest."""

        def share(most: float) -> float:
            return draw.uniform(0, most) if draw.random() < 0.5 else 0.0

        return cls(
            slow=share(0.1),
            dropped=share(0.03),
            unheard=share(0.03),
            swallowed=share(0.004),
            unanswered=share(0.008),
            late=share(0.008),
            refused=share(0.03),
            rejected=share(0.03),
        )

    def kind(self, draw: random.Random, name: str) -> str:
        """The trouble that one request meets, or none; the few that decide most meet more."""
        at = draw.random() / (_DECISIVE_WEIGHT if name in _DECISIVE else 1)
        for kind in self.__slots__:
            at -= getattr(self, kind)
            if at < 0:
                return kind
        return ""


#: One in a hundred requests, and what the others stand or fall by.
_DECISIVE: Final = ("init_producer", "add_partition", "commit")
_DECISIVE_WEIGHT: Final = 8

#: Requests of one member that its coordinator gets in the order they were sent, or not at all.
_IN_ORDER: Final = ("commit_offsets",)

#: More than a rounding error of virtual time.
_A_MOMENT_S: Final = 1e-6

#: Requests of a takeover or a commit, right after which a late one may do the most harm.
_TURNING_POINTS: Final = ("init_producer", "list_offsets", "fetch_offset", "commit")


class Network:
    """Carries requests; each meets the weather of its time.

    A late request arrives at some time, or right after another process's request at a turning
    point, whichever comes first.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.weather = Weather()
        self.is_broker_up = True
        #: Called with what is about to be sent.
        self.on_request: Callable[[Process, str], None] = lambda _process, _name: None
        self._late: list[tuple[Process, Callable[[], None]]] = []
        self._last_arrival: dict[tuple[Process, str], float] = {}

    def request(
        self, process: Process, name: str, action: Callable[[], Any]
    ) -> "asyncio.Future[Any]":
        """The broker's answer to come, or a KafkaError. The sender's death can't stop a request."""
        answer: asyncio.Future[Any] = process.loop.create_future()
        if not process.is_alive:
            return answer
        draw = self._world.random
        kind = self.weather.kind(draw, name)
        self.on_request(process, name)
        if kind:
            self._world.note(process.name, f"{name}: {kind}")
        is_silent = kind in ("swallowed", "unanswered", "late")
        if is_silent:
            process.loop.call_later(REQUEST_TIMEOUT_S, _settle, answer, RequestTimedOutError())

        def tell(outcome: Any) -> None:
            if process.is_alive:
                _settle(answer, outcome)

        def arrive() -> None:
            outcome = self._outcome(name, kind, action)
            if not is_silent:
                self._world.after(self._delay(), lambda: tell(outcome))
            if name in _TURNING_POINTS:
                self._hurry_late(process)

        if kind == "late" and name not in _IN_ORDER:
            self._delay_long(process, name, arrive)
        else:
            slow = draw.choice((0.02, 0.1, 0.5, 3.0)) * draw.random()
            delay = slow if kind == "slow" else self._delay()
            self._world.after(self._in_turn(process, name, delay), arrive)
        return answer

    def _in_turn(self, process: Process, name: str, delay: float) -> float:
        """The delay, made longer where an earlier request must not be overtaken."""
        if name not in _IN_ORDER:
            return delay
        now, before = self._world.now, self._last_arrival.get((process, name), 0.0)
        self._last_arrival[process, name] = max(now + delay, before + _A_MOMENT_S)
        return self._last_arrival[process, name] - now

    def _delay_long(self, process: Process, name: str, arrive: Callable[[], None]) -> None:
        def arrive_once() -> None:
            if late in self._late:
                self._late.remove(late)
                self._world.note(process.name, f"{name}: arrives late")
                arrive()

        late = (process, arrive_once)
        self._late.append(late)
        self._world.after(self._world.random.uniform(0.5, 90.0), arrive_once)

    def _hurry_late(self, process: Process) -> None:
        others = [arrive for sender, arrive in self._late if sender is not process]
        if others and self._world.chance(0.3):
            self._world.after(self._world.random.uniform(0, 0.01), others[0])

    def _outcome(self, name: str, kind: str, action: Callable[[], Any]) -> Any:
        if not self.is_broker_up or kind in ("dropped", "swallowed"):
            return KafkaConnectionError(f"{name} met no broker")
        if kind == "refused" and name == "produce":
            return NotEnoughReplicasError()
        if kind == "rejected" and name == "produce":
            return MessageSizeTooLargeError()
        try:
            outcome = action()
        except KafkaError as error:
            return error
        return KafkaConnectionError(f"{name} lost its answer") if kind == "unheard" else outcome

    def _delay(self) -> float:
        return self._world.random.uniform(0.0002, 0.003)


def _settle(answer: "asyncio.Future[Any]", outcome: Any) -> None:
    if answer.done():
        return
    if isinstance(outcome, BaseException):
        answer.set_exception(outcome)
    else:
        answer.set_result(outcome)
