"""noida-db: one small binary from PyPI that speaks Kafka. For development only.

It keeps its log in memory and writes all of it to one JSON file about once a second: SIGKILL
takes the records of the last second or more, acknowledged or not, while SIGTERM saves them.
A fetch answers with all that a partition holds from the offset on, whatever the client's limits:
librdkafka clients need `receive.message.max.bytes` above what they lag behind.
"""

import importlib.metadata
import importlib.util
import os
import shutil
from pathlib import Path
from typing import ClassVar

from streamapp.broker.errors import BrokerError
from streamapp.broker.kinds import BrokerKind
from streamapp.broker.network import LOOPBACK, set_broker_option
from streamapp.broker.process import Process

MISSING = "noida-db is not installed: run `pip install noida-db`, or choose --kind kafka"
NODE_ID = "1"


class Noida:
    """Starts noida-db with its Kafka service alone."""

    kind: ClassVar[BrokerKind] = BrokerKind.NOIDA
    start_timeout_s: ClassVar[float] = 20.0
    acks_survive_kill: ClassVar[bool] = False

    def version(self) -> str:
        """The version of the installed package."""
        try:
            return importlib.metadata.version("noida-db")
        except importlib.metadata.PackageNotFoundError as error:
            raise BrokerError(MISSING) from error

    def start(self, port: int, data_dir: Path, log: Path) -> Process:
        """Start the binary in the background."""
        argv = [str(_binary()), "start", "--only", "kafka"]
        argv += ["--host", LOOPBACK, "--kafka-port", str(port), "--data-dir", str(data_dir)]
        return Process.spawn(argv, log)

    def configure(self, bootstrap_servers: str) -> None:
        """Make no topics on mention: they would hide a mistyped name or a wrong partition count."""
        set_broker_option(bootstrap_servers, NODE_ID, "auto.create.topics.enable", "false")

    def discard(self, data_dir: Path) -> None:
        """Delete its snapshot."""
        shutil.rmtree(data_dir, ignore_errors=True)


def _binary() -> Path:
    """The binary inside the package: its wrapper script would not pass our signals on."""
    spec = importlib.util.find_spec("noida_db")
    if spec is None or not spec.submodule_search_locations:
        raise BrokerError(MISSING)
    binary = Path(spec.submodule_search_locations[0]) / "noida-db"
    if not binary.is_file():
        raise BrokerError(f"{binary} is missing: run `pip install --force-reinstall noida-db`")
    if not os.access(binary, os.X_OK):
        binary.chmod(0o755)  # pip may drop the bit; the package's own wrapper sets it likewise
    return binary
