"""Apache Kafka on the local JVM: one node that is both broker and KRaft controller."""

import base64
import os
import re
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import ClassVar

from streamapp.broker.errors import BrokerError
from streamapp.broker.kafka_jars import kafka_jars, kafka_version
from streamapp.broker.kinds import BrokerKind
from streamapp.broker.network import LOOPBACK, free_port
from streamapp.broker.process import Process

JAVA_MIN = 17
"""Brokers of Kafka 4 need it (KIP-1013)."""
JVM_OPTIONS = ("-Xms256m", "-Xmx768m", "-XX:+UseG1GC", "-XX:+ExitOnOutOfMemoryError")
#: The second compiler takes as long again, and pays after minutes.
QUICK_COMPILER = "-XX:TieredStopAtLevel=1"
FORMAT_TIMEOUT_S = 60.0

# The internal topics have one replica, as there is one node, and few partitions, as each costs
# files and start-up time. The first member of a group needn't wait for others. A killed broker's
# registration blocks its successor until the session ends, so the session is short.
PROPERTIES = """\
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller_port}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller_port}
advertised.listeners=PLAINTEXT://{host}:{port}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
log.dirs={log_dir}
auto.create.topics.enable=false
default.replication.factor=1
min.insync.replicas=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=4
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
share.coordinator.state.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.heartbeat.interval.ms=500
broker.session.timeout.ms=3000
"""

LOG4J = """\
rootLogger.level=WARN
rootLogger.appenderRef.console.ref=console
appender.console.type=Console
appender.console.name=console
appender.console.layout.type=PatternLayout
appender.console.layout.pattern=%d{ISO8601} %p %m (%c)%n
"""


class Kafka:
    """Starts Apache Kafka from jars that Maven fetched."""

    kind: ClassVar[BrokerKind] = BrokerKind.KAFKA
    start_timeout_s: ClassVar[float] = 90.0
    acks_survive_kill: ClassVar[bool] = True

    def version(self) -> str:
        """The version that the pom names."""
        return kafka_version()

    def start(self, port: int, data_dir: Path, log: Path) -> Process:
        """Fetch the jars and format the storage where that wasn't done, then start the node."""
        java = [_java(), "-cp", f"{kafka_jars()}/*"]
        config = _write_config(port, data_dir)
        if not (data_dir / "log" / "meta.properties").exists():
            _format_storage(java, config)
        log4j = f"-Dlog4j2.configurationFile={data_dir / 'log4j2.properties'}"
        return Process.spawn([*java, *JVM_OPTIONS, log4j, "kafka.Kafka", str(config)], log)

    def configure(self, bootstrap_servers: str) -> None:
        """Nothing: all was told at start."""

    def discard(self, data_dir: Path) -> None:
        """Delete its logs and configuration."""
        shutil.rmtree(data_dir, ignore_errors=True)


def _java() -> str:
    """The path of a Java that is new enough."""
    home = os.environ.get("JAVA_HOME")
    java = shutil.which("java", path=f"{home}/bin" if home else None)
    mend = f"on Debian run `apt-get install default-jre-headless` (Java {JAVA_MIN} or newer)"
    if java is None:
        raise BrokerError(f"Java is not installed: {mend}, or choose --kind noida")
    told = subprocess.run(  # noqa: S603 - a program the user installed as java
        [java, "-version"], capture_output=True, text=True, timeout=30, check=False
    ).stderr
    found = re.search(r'version "(\d+)', told)
    if found is None or int(found.group(1)) < JAVA_MIN:
        raise BrokerError(f"{java} is too old for Kafka {kafka_version()}: {mend}")
    return java


def _write_config(port: int, data_dir: Path) -> Path:
    """Write what Kafka reads at start. The controller's port may change from start to start."""
    config = data_dir / "server.properties"
    config.write_text(
        PROPERTIES.format(
            host=LOOPBACK, port=port, controller_port=free_port(), log_dir=data_dir / "log"
        )
    )
    (data_dir / "log4j2.properties").write_text(LOG4J)
    return config


def _format_storage(java: list[str], config: Path) -> None:
    """Give the empty log directory a cluster id, without which KRaft refuses to start."""
    cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
    # One id in 64 begins with a dash, and would be taken for an option of its own.
    told_id = f"--cluster-id={cluster_id}"
    argv = [*java, QUICK_COMPILER, "kafka.tools.StorageTool", "format", told_id, "-c", str(config)]
    done = subprocess.run(  # noqa: S603 - our own arguments
        argv, capture_output=True, text=True, timeout=FORMAT_TIMEOUT_S, check=False
    )
    if done.returncode != 0:
        told = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        raise BrokerError(f"Kafka could not format {config.parent}: {told[-1]}")
