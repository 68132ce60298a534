"""One run of the whole checkpoint protocol, decided by its seed."""

import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from streamapp.engine.engine import Engine
from streamapp.engine.partition import Scorer
from streamapp.engine.settings import WorkerSettings
from streamapp.engine.store import PARTITION_STATE_KEY
from streamapp.scoring.partition_state import source_offset
from streamapp.scoring.verdicts import SourcePartition
from tests.simulation.attempts import Attempts, started_with
from tests.simulation.broker import Broker
from tests.simulation.checks import broken_promises
from tests.simulation.disk import Disk
from tests.simulation.faults import FAULTS_S, PAUSES_S, Deed, FaultPlan, Guarantee
from tests.simulation.group import REBALANCE_TIMEOUT_S, SESSION_TIMEOUT_S, Group
from tests.simulation.network import Network, Weather
from tests.simulation.topic_log import Message
from tests.simulation.windows import Publication, fed_model, in_force, published
from tests.simulation.worker import (
    CHANGELOG,
    OUTPUTS,
    SOURCE,
    Plan,
    SimulatedWorker,
    Surroundings,
)
from tests.simulation.workload import POLICY, Truth, models, payments, truth
from tests.simulation.world import Process, Stuck, World

GROUP = "streamapp"

#: Virtual time for a run to end once nothing goes wrong any more: some answers that never come
#: have to be waited for (30 s each), and a forgotten transaction (60 s).
CALM_S = 400.0

#: The group's offset is seen before the last checkpoint has reached the owner's store.
SETTLE_S = 2.0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a seed; nothing broken is well."""

    seed: int
    guarantee: Guarantee
    broken: list[str]
    trace: list[str]
    #: How often each thing happened: kills by what became of the disk, commits that came late, …
    met: Counter[str]


@dataclass(slots=True)
class Host:
    """A machine: a disk, and at most one worker that is not dead."""

    name: str
    disk: Disk
    lives: int = 0
    process: Process | None = None
    worker: SimulatedWorker | None = None

    @property
    def is_up(self) -> bool:
        """A worker runs here."""
        return self.process is not None and self.process.is_alive


class Simulation:
    """The world of one seed."""

    def __init__(
        self, seed: int, engine_type: type[Engine], *, is_calm: bool, keeps_trace: bool
    ) -> None:
        draw = random.Random(f"plan of {seed}")
        self.seed = seed
        self.guarantee: Guarantee = "at_least_once" if draw.random() < 0.2 else "exactly_once"
        partitions = draw.randint(1, 3)
        self.plan = _plan(draw, self.guarantee, engine_type)
        self.messages = payments(draw, partitions, _records(draw, self.plan))
        self.world = World(draw.getrandbits(64), keeps_trace=keeps_trace)
        self.broker = Broker(self.world, partitions)
        self.network = Network(self.world)
        self.group = Group(self.world, self.broker, GROUP, SOURCE, partitions)
        self.hosts = [Host(f"w{n}", Disk()) for n in range(draw.randint(1, 3))]
        self.faults = FaultPlan() if is_calm else FaultPlan.drawn(draw, self.guarantee)
        self.group.on_assigned = self._wake_zombies
        self.network.on_request = self._strike
        self.broker.on_lost_markers = self._lose_leaders
        self._ambushes: list[tuple[str, Deed]] = []
        self._is_calm = False
        self._attempts = Attempts(self.broker, CHANGELOG)
        self._draw_model = random.Random(f"models of {seed}")
        self._models = models()[:1] if is_calm else started_with(seed, self.guarantee)
        self.publication = Publication()
        if self.guarantee == "exactly_once" and not is_calm:
            self.publication = Publication.drawn(seed, FAULTS_S)
        if self.publication.times:
            self._models = (fed_model(),)
        if len(self._models) > 1 or self.publication.times:
            self.faults = self.faults.with_torn_commits(self._draw_model)

    def run(self) -> list[str]:
        """Go through it all; what is broken in the end."""
        self._feed()
        self.world.after(0, self.group.watch)
        for host in self.hosts:
            self.world.after(self.world.random.uniform(0, 0.3), partial(self._start, host))
        self.faults.begin(self.world, self.network, self.broker, self)
        try:
            self.world.run_for(FAULTS_S)
            self._calm_down()
            owners = self._settled(self.world.now + CALM_S)
            if owners is None:
                return [f"not done {CALM_S:.0f} s after the last fault: {self._where()}"]
            return self._broken(owners)
        except Stuck as error:
            return [str(error)]
        finally:
            self.world.bury()

    def _feed(self) -> None:
        """Producers write over most of the time in which faults happen."""
        draw = self.world.random
        for partition, messages in enumerate(self.messages):
            start, when = 0, 0.0
            while start < len(messages):
                size = draw.choice((1, 2, 5, 20, 60))
                chunk = messages[start : start + size]
                self.world.after(when, partial(self.broker.log(SOURCE, partition).append, chunk))
                when += draw.expovariate(4.0)
                start += size

    def _start(self, host: Host) -> None:
        if host.is_up:
            return
        host.lives += 1
        host.process = self.world.new_process(f"{host.name}.{host.lives}")
        around = Surroundings(self.broker, self.network, self.group, self._attempts)
        model = self._models[self._draw_model.randrange(len(self._models))]
        host.worker = SimulatedWorker(
            self.plan, around, host.process, host.disk, model, self.publication
        )
        host.process.run(host.worker.main(lambda: self._start_again(host)))
        self.world.note(host.process.name, "started")

    def _start_again(self, host: Host) -> None:
        self.world.after(self.world.random.uniform(0.05, 1.0), partial(self._start, host))

    def _calm_down(self) -> None:
        self.world.note("world", "calm from here on")
        self._is_calm = True
        self.network.weather = Weather()
        self.broker.slow_markers = 0.0
        self.broker.lost_markers = self.broker.torn_commits = 0.0
        self.network.is_broker_up = True
        for host in self.hosts:
            if host.process is not None:
                host.process.is_paused = False
                host.process.kill_at = None

    def _is_done(self) -> bool:
        """Everything committed, visible to readers, owned, and in the owners' stores."""
        committed = all(
            self.group.committed(partition) == len(messages)
            for partition, messages in enumerate(self.messages)
            if messages
        )
        return (
            committed
            and all(log.stable_end == log.end for log in self.broker.logs.values())
            and (owners := self._owners()) is not None
            and all(self._is_current(partition, host) for partition, host in owners.items())
        )

    def _is_current(self, partition: int, owner: Host) -> bool:
        """The owner has heard of its last commit: its answer may have been lost for a while."""
        state = owner.disk.images[_directory(partition)].items.get(PARTITION_STATE_KEY)
        scored = 0 if state is None else source_offset(state) + 1
        return scored == len(self.messages[partition])

    def _settled(self, deadline: float) -> dict[int, Host] | None:
        """Who has each partition when all is done and stays so; None past the deadline."""
        while self.world.run_until(self._is_done, deadline):
            self.world.run_for(SETTLE_S)
            if (owners := self._owners()) is not None:
                return owners
        return None

    def _owners(self) -> dict[int, Host] | None:
        """Who has each partition, when every one is had once and nothing waits for a checkpoint."""
        if self.group.is_rebalancing:
            return None
        owners: dict[int, Host] = {}
        for host in self.hosts:
            if host.is_up and host.worker is not None:
                for partition in host.worker.engine.partitions:
                    if partition in owners:
                        return None
                    owners[partition] = host
        return owners if len(owners) == len(self.messages) else None

    def _where(self) -> str:
        committed = [self.group.committed(p) for p in range(len(self.messages))]
        return f"committed {committed} of {[len(one) for one in self.messages]}"

    def _broken(self, owners: dict[int, Host]) -> list[str]:
        broken = list(self.world.violations)
        for partition, messages in enumerate(self.messages):
            image = owners[partition].disk.images[_directory(partition)]
            broken += broken_promises(
                self.broker,
                GROUP,
                self.guarantee,
                partition,
                messages,
                self._truth(partition, messages, image.items.get(PARTITION_STATE_KEY)),
                image.items,
            )
        return broken

    def _truth(self, partition: int, messages: list[Message], state: bytes | None) -> Truth:
        if self.publication.times:
            found = in_force(state, len(messages))
            taken = [one.version for stretch in found for one in stretch.taken]
            windows = sum(version in published() for version in taken)
            self.world.met["took risk windows over"] += windows
            self.world.met["took cut-offs over"] += len(taken) - windows
        else:
            found = self._attempts.stretches(partition, len(messages))
            self.world.met["went on with another model"] += len(found[1:])
        return truth(SourcePartition(SOURCE, partition), messages, found)

    def _some_host(self, suits: Callable[[Host], bool]) -> Host | None:
        found = [host for host in self.hosts if host.is_up and suits(host)]
        return self.world.random.choice(found) if found else None

    def kill(self, steps: int, disk: str) -> None:
        """Kill a worker; what is left of its disk is kept, cut or wiped."""
        host = self._some_host(lambda _: True)
        if host is not None:
            self._kill(host, steps, disk)

    def _kill(self, host: Host, steps: int, disk: str) -> None:
        def on_kill() -> None:
            lost = 0
            if disk == "cut":
                lost = host.disk.cut_power(self.world.random)
            elif disk == "wiped":
                host.disk.wipe()
            self.world.note(host.name, f"killed, disk {disk}", writes_lost=lost)
            self._start_again(host)

        assert host.process is not None
        host.process.kill_after(steps, on_kill)

    def ambush(self, request: str, deed: Deed) -> None:
        """Strike the next worker that sends this request."""
        self._ambushes.append((request, deed))

    def _strike(self, process: Process, request: str) -> None:
        deed = next((deed for name, deed in self._ambushes if name == request), None)
        if deed is None or self._is_calm:
            return
        self._ambushes.remove((request, deed))
        host = next(host for host in self.hosts if host.process is process)
        if deed == "kill":
            self._kill(host, self.world.random.randint(0, 12), "kept")
        else:
            self._pause(process, self.world.random.choice(PAUSES_S))

    def close(self) -> None:
        """Ask a worker to stop."""
        host = self._some_host(lambda _: True)
        if host is not None and host.worker is not None:
            self.world.note(host.name, "SIGTERM")
            host.worker.close()

    def pause(self, seconds: float) -> None:
        """Have a worker stand still, and go on as if nothing had been."""
        host = self._some_host(lambda h: h.process is not None and not h.process.is_paused)
        if host is not None and host.process is not None:
            self._pause(host.process, seconds)

    def _pause(self, process: Process, seconds: float) -> None:
        process.is_paused = True
        self.world.note(process.name, "paused", seconds=seconds)
        self.world.after(seconds, partial(self._resume, process))

    def _resume(self, process: Process) -> None:
        if process.is_paused and process.is_alive:
            process.is_paused = False
            self.world.note(process.name, "resumed")

    def _wake_zombies(self) -> None:
        """The worst time to resume is while another takes over."""
        for host in self.hosts:
            if host.process is not None and host.process.is_paused and self.world.chance(0.4):
                delay = self.world.random.uniform(0, 0.1)
                self.world.after(delay, partial(self._resume, host.process))

    def rebalance(self) -> None:
        """Have the group rebalance."""
        self.group.rebalance()

    def compact(self) -> None:
        """Compact the changelogs, up to anywhere."""
        for partition in range(len(self.messages)):
            log = self.broker.log(CHANGELOG, partition)
            log.compact(self.world.random.randint(0, log.end))
        self.world.note("broker", "compacted")

    def expire(self) -> None:
        """Delete source records the group is done with."""
        for partition in range(len(self.messages)):
            committed = self.group.committed(partition) or 0
            self.broker.log(SOURCE, partition).expire(self.world.random.randint(0, committed))
        self.world.note("broker", "expired")

    def outage(self, seconds: float) -> None:
        """Have the broker away."""
        if not self.network.is_broker_up or self._is_calm:
            return
        self.network.is_broker_up = False
        self.world.note("broker", "away", seconds=round(seconds, 2))
        self.world.after(seconds, self._broker_back)

    def lose_markers(self, share: float) -> None:
        """Have the broker leave out markers of the next transaction, and mostly go away then."""
        if not self._is_calm:
            self.broker.lost_markers = share

    def _lose_leaders(self) -> None:
        if self.world.chance(0.7):
            self.outage(self.world.random.uniform(0.05, 1.0))
        if self.faults.torn_commits and self.world.chance(0.5):
            self.kill(self.world.random.randint(0, 12), "kept")

    def _broker_back(self) -> None:
        self.network.is_broker_up = True
        self.world.note("broker", "back")


def _directory(partition: int) -> Path:
    return Path("state") / f"p{partition:05d}"


def _records(draw: random.Random, plan: Plan) -> int:
    """How many; fewer in small batches, for it is batches that take time."""
    return min(draw.choice((30, 80, 150, 250)), 50 * plan.settings.batch_records_max)


def _plan(draw: random.Random, guarantee: Guarantee, engine_type: type[Engine]) -> Plan:
    """Settings with bounds small enough to be met by a few records."""
    settings = WorkerSettings.model_construct(
        group=GROUP,
        guarantee=guarantee,
        state_dir=Path("state"),
        batch_records_max=draw.choice((1, 3, 8, 32)),
        checkpoint_interval_ms=draw.choice((20, 50, 100, 300)),
        checkpoint_profiles_max=draw.choice((1, 2, 4, 384)),
        cache_profiles_max=draw.choice((1, 2, 3, 50)),
        session_timeout_s=SESSION_TIMEOUT_S,
        shutdown_timeout_s=REBALANCE_TIMEOUT_S * 0.8,
        dead_letter_run_max=10_000,
        dead_letter_share_max=1.0,
    )
    scorer = Scorer(models()[0], POLICY, OUTPUTS, settings.checkpoint_profiles_max)
    return Plan(
        settings,
        scorer,
        engine_type,
        repeat_share=draw.choice((0.0, 0.1)),
        sync_share=draw.choice((0.0, 0.1, 1.0)),
    )


def simulate(
    seed: int,
    engine_type: type[Engine] = Engine,
    *,
    is_calm: bool = False,
    keeps_trace: bool = False,
) -> Outcome:
    """Run one seed; where it is calm, without its faults."""
    simulation = Simulation(seed, engine_type, is_calm=is_calm, keeps_trace=keeps_trace)
    broken = simulation.run()
    return Outcome(
        seed,
        simulation.guarantee,
        broken,
        simulation.world.trace,
        simulation.world.met,
    )
