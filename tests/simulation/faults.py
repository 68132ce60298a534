"""What goes wrong in a run, and when: drawn from the seed, a different mixture for each."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Final, Literal, Protocol

from tests.simulation.broker import Broker
from tests.simulation.network import Network, Weather
from tests.simulation.world import World

Deed = Literal["kill", "pause"]
Guarantee = Literal["exactly_once", "at_least_once"]

#: Faults are drawn for this long; then they stop, and the run must come to its end.
FAULTS_S: Final = 8.0

#: Short of the session, past it, past every timeout.
PAUSES_S: Final = (0.3, 2.0, 5.0, 40.0, 90.0)

#: Without a fence an earlier owner's state can stand behind its successor's in the changelog.
#: Recovery passes over it, but compaction keeps the last: that is not promised at-least-once.
_NEEDS_FENCE: Final = ("compact",)

#: Requests whose sender is worth striking: every step of a checkpoint and of a takeover.
_TURNS: Final = ("produce", "add_partition", "commit", "init_producer", "list_offsets", "fetch")


class Hosts(Protocol):
    """What faults do to workers; each picks one that is in a state for it."""

    def kill(self, steps: int, disk: str) -> None:
        """Kill a worker `steps` callbacks from now; its disk is kept, cut or wiped."""

    def ambush(self, request: str, deed: Deed) -> None:
        """Strike the next worker that sends this request, at it or within a few callbacks."""

    def close(self) -> None:
        """Ask a worker to stop."""

    def pause(self, seconds: float) -> None:
        """Have a worker stand still, and go on as if nothing had been."""

    def rebalance(self) -> None:
        """Have the group rebalance."""

    def compact(self) -> None:
        """Compact a changelog."""

    def expire(self) -> None:
        """Have old source records deleted."""

    def outage(self, seconds: float) -> None:
        """Have the broker away."""

    def lose_markers(self, share: float) -> None:
        """Have the broker leave out markers of the next transaction that ends."""


@dataclass(frozen=True, slots=True)
class FaultPlan:
    """Times and kinds of faults, and the weather between them."""

    times: list[tuple[float, str]] = field(default_factory=list)
    weather: Weather = field(default_factory=Weather)
    slow_markers: float = 0.0
    torn_commits: float = 0.0

    @classmethod
    def drawn(cls, draw: random.Random, guarantee: Guarantee) -> "FaultPlan":
        """Some kinds of faults and not others, rare or frequent."""
        kinds = [kind for kind in KINDS if draw.random() < 0.6]
        weather = Weather.drawn(draw)
        if guarantee == "at_least_once":
            kinds = [kind for kind in kinds if kind not in _NEEDS_FENCE]
        count = draw.randint(0, 14)
        weights = [_WEIGHTS.get(kind, 1.0) for kind in kinds]
        drawn = draw.choices(kinds, weights, k=count) if kinds else []
        times = [(draw.uniform(0, FAULTS_S), kind) for kind in drawn]
        return cls(sorted(times), weather, draw.choice((0.0, 0.1, 0.3)))

    def with_torn_commits(self, draw: random.Random) -> "FaultPlan":
        """More of what makes one owner settle what another has left."""
        more = [(draw.uniform(0, FAULTS_S), draw.choice(("kill", "kill at"))) for _ in range(6)]
        return replace(self, times=sorted([*self.times, *more]), torn_commits=0.3)

    def begin(self, world: World, network: Network, broker: Broker, hosts: Hosts) -> None:
        """Put them on the world's calendar."""
        network.weather = self.weather
        broker.slow_markers = self.slow_markers
        broker.torn_commits = self.torn_commits
        for when, kind in self.times:
            world.after(when, partial(KINDS[kind], world.random, hosts))


KINDS: Final[dict[str, Callable[[random.Random, Hosts], None]]] = {
    "kill": lambda draw, hosts: hosts.kill(draw.randint(0, 300), "kept"),
    "power cut": lambda draw, hosts: hosts.kill(draw.randint(0, 300), "cut"),
    "new disk": lambda draw, hosts: hosts.kill(draw.randint(0, 300), "wiped"),
    "kill at": lambda draw, hosts: hosts.ambush(draw.choice(_TURNS), "kill"),
    "pause at": lambda draw, hosts: hosts.ambush(draw.choice(_TURNS), "pause"),
    "close": lambda draw, hosts: hosts.close(),
    "pause": lambda draw, hosts: hosts.pause(draw.choice(PAUSES_S)),
    "rebalance": lambda draw, hosts: hosts.rebalance(),
    "compact": lambda draw, hosts: hosts.compact(),
    "expire": lambda draw, hosts: hosts.expire(),
    "outage": lambda draw, hosts: hosts.outage(draw.uniform(0.05, 1.0)),
    "lost markers": lambda draw, hosts: hosts.lose_markers(draw.choice((0.2, 0.5, 0.8, 1.0))),
    "long outage": lambda draw, hosts: hosts.outage(draw.uniform(3.0, 45.0)),
}

#: Long standstills leave little time for anything else.
_WEIGHTS: Final = {"long outage": 0.1, "pause": 0.5, "pause at": 0.5}
