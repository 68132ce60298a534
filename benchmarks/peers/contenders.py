"""The peers: how each is started and what it promises."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from benchmarks.contender import FAUST, Contender, Setup

ROOT = Path(__file__).parents[2]
ENVIRONMENTS = ROOT / ".venv-peers"

#: Of Flink's connector the newest there is, for 2.2; it runs under the 2.3 that is pinned.
FLINK_JAR = ENVIRONMENTS / "flink" / "jars" / "flink-sql-connector-kafka-5.0.0-2.2.jar"

Guarantee = Literal["at_least_once", "exactly_once"]
Engine = Literal["streamapp", "faust", "quix", "flink"]


#: What verdicts are compared with and ratios are taken of, by guarantee.
OURS: Engine = "streamapp"

_TITLES = {
    "streamapp": "streamapp",
    "faust": "Faust per event, our kernels",
    "quix": "Quix Streams, our kernels",
    "flink": "PyFlink, our kernels",
}
_PACKAGES = {
    "quix": ("quixstreams", "confluent-kafka", "rocksdict", "numba", "numpy"),
    "flink": ("apache-flink", "numba", "numpy"),
}


@dataclass(frozen=True, slots=True)
class Peer(Contender):
    """An engine under one guarantee."""

    engine: Engine
    guarantee: Guarantee

    @property
    def is_installed(self) -> bool:
        """Its environment is there: `make bench-peers` makes them."""
        return self.python.exists()

    @property
    def python(self) -> Path:
        """The interpreter that has what the engine needs."""
        own = ENVIRONMENTS / self.engine / "bin" / "python"
        return own if self.engine in ("quix", "flink") else Path(sys.executable)

    def versions(self) -> list[tuple[str, str]]:
        """The engine's own libraries where they are not those of streamapp's environment."""
        packages = _PACKAGES.get(self.engine, ())
        if not packages:
            return []
        told = subprocess.run(
            [self.python, "-m", "pip", "list", "--format", "json"],
            stdout=subprocess.PIPE,
            check=True,
        ).stdout
        return [
            (f"{self.engine}: {one['name']}", one["version"])
            for one in json.loads(told)
            if one["name"] in packages
        ]

    def command(self) -> list[str]:
        """The worker's command line."""
        if self.engine == "streamapp":
            return [str(Path(sys.executable).with_name("streamapp")), "worker"]
        module = [str(self.python), "-m", f"benchmarks.peers.{self.engine}_worker"]
        return [*module, "worker", *FAUST] if self.engine == "faust" else module

    def environment(self, setup: Setup, prefix: str) -> dict[str, str]:
        """The worker's settings."""
        state_dir = str(setup.directory / f"{prefix}state")
        if self.engine == "streamapp":
            return {
                "STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": setup.bootstrap_servers,
                "STREAMAPP_TOPICS__PREFIX": prefix,
                "STREAMAPP_TOPICS__PARTITIONS": str(setup.partitions),
                "STREAMAPP_WORKER__STATE_DIR": state_dir,
                "STREAMAPP_WORKER__GUARANTEE": self.guarantee,
                "STREAMAPP_WORKER__HTTP_PORT": "0",
            }
        return {
            "PYTHONPATH": str(ROOT),
            "BENCHMARK_BOOTSTRAP": setup.bootstrap_servers,
            "BENCHMARK_PREFIX": prefix,
            "BENCHMARK_PARTITIONS": str(setup.partitions),
            "BENCHMARK_STATE_DIR": state_dir,
            "BENCHMARK_GUARANTEE": self.guarantee,
            "BENCHMARK_FLINK_JAR": str(FLINK_JAR),
        }


def peers() -> list[Peer]:
    """Every engine under both guarantees; PyFlink, which takes longest to start, under one."""
    both: tuple[Guarantee, ...] = ("exactly_once", "at_least_once")
    promised: dict[Engine, tuple[Guarantee, ...]] = {
        "streamapp": both,
        "faust": both,
        "quix": both,
        "flink": ("exactly_once",),
    }
    return [
        Peer(f"{engine}-{guarantee}", f"{_TITLES[engine]}, {guarantee}", engine, guarantee)
        for engine, guarantees in promised.items()
        for guarantee in guarantees
    ]
