"""The parts of the local broker: processes, state, waiting; what is said when one is missing."""

import os
import shutil
import signal
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from streamapp.broker import BrokerError, BrokerKind, LocalBroker, kafka, redpanda
from streamapp.broker import kafka_jars as jars
from streamapp.broker import state as states
from streamapp.broker.network import PORT_MAX, PORT_MIN, free_port
from streamapp.broker.process import Process, _started_by_proc, _started_by_ps
from streamapp.broker.state import BrokerState
from streamapp.broker.waiting import wait_until

SLEEP = shutil.which("sleep") or "/bin/sleep"


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Process]:
    process = Process.spawn([SLEEP, "60"], tmp_path / "log")
    yield process
    process.kill()
    assert wait_until(lambda: not process.is_alive(), 10)


def test_process_is_alive_until_it_is_killed(sleeper: Process) -> None:
    """Alive after spawn; gone after SIGKILL, although nobody waited for it."""
    assert sleeper.is_alive()
    sleeper.kill()
    assert wait_until(lambda: not sleeper.is_alive(), 10)


def test_process_has_its_own_session(sleeper: Process) -> None:
    """Ctrl-C in the terminal of its starter does not reach it."""
    assert sleeper.pid == os.getsid(sleeper.pid)


def test_reused_pid_is_another_process(sleeper: Process) -> None:
    """A process of the same pid that began at another time is neither ours nor signalled."""
    earlier = Process(pid=sleeper.pid, started="1")
    earlier.kill()
    assert (False, True) == (earlier.is_alive(), sleeper.is_alive())


@pytest.mark.integration
def test_both_ways_to_ask_for_a_process_agree(sleeper: Process) -> None:
    """/proc and ps both know a live process and both miss a dead one."""
    asked = (_started_by_proc, _started_by_ps)
    assert [True, True] == [bool(ask(sleeper.pid)) for ask in asked]
    sleeper.send(signal.SIGKILL)
    assert wait_until(lambda: not sleeper.is_alive(), 10)
    assert [None, None] == [ask(sleeper.pid) for ask in asked]


def test_wait_ends_at_its_deadline() -> None:
    """What never becomes true is asked at least once and answered False."""
    answers = iter([False, True])
    assert not wait_until(lambda: next(answers), timeout_s=0.0)
    assert [True] == list(answers)


def test_free_ports_differ_and_are_no_client_ports() -> None:
    """Two calls give two ports, both below what the system gives to outgoing connections."""
    ports = {free_port(), free_port()}
    assert 2 == len(ports)
    assert all(PORT_MIN <= port < PORT_MAX for port in ports)


def test_state_is_read_as_written(tmp_path: Path, sleeper: Process) -> None:
    """save then load gives the same; clear forgets it."""
    state = BrokerState(
        kind=BrokerKind.KAFKA, version="4", port=1, data_dir=tmp_path, runs_as=sleeper
    )
    states.save(tmp_path, state)
    assert state == states.load(tmp_path)
    states.clear(tmp_path)
    assert states.load(tmp_path) is None


def test_broken_state_is_named(tmp_path: Path) -> None:
    """A state file that can't be read says what to do about it."""
    (tmp_path / states.FILE_NAME).write_text("{")
    with pytest.raises(BrokerError, match=r"state\.json is not readable: .* delete the file"):
        LocalBroker.find(tmp_path)


def test_two_commands_in_one_directory_exclude_each_other(tmp_path: Path) -> None:
    """While one start or stop is at work the other is refused, not queued."""
    with states.exclusive(tmp_path), pytest.raises(BrokerError, match="another start or stop"):
        LocalBroker.start(directory=tmp_path)


def test_missing_noida_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the package: how to install it, and the directory made for it is gone."""
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(BrokerError, match="pip install noida-db"):
        LocalBroker.start(BrokerKind.NOIDA)


def test_missing_java_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without a java on PATH: what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("JAVA_HOME", raising=False)
    with pytest.raises(BrokerError, match="Java is not installed: on Debian run `apt-get install"):
        LocalBroker.start(BrokerKind.KAFKA)


@pytest.mark.parametrize("told", ['java version "1.8.0_392"', 'openjdk version "11.0.2"', "?"])
def test_old_java_is_named(told: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A Java that Kafka 4 can't run on is refused before it fails with a class version."""
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho '{told}' >&2\n")
    java.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(BrokerError, match=r"java is too old for Kafka 4\..*Java 17 or newer"):
        LocalBroker.start(BrokerKind.KAFKA)


def test_missing_maven_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without Maven and without jars in the cache: what to install."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(BrokerError, match="`apt-get install maven`"):
        jars.kafka_jars()


def test_failed_download_leaves_no_half_set(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """If Maven fails its first complaint is told, and the cache stays empty."""
    maven = tmp_path / "mvn"
    maven.write_text("#!/bin/sh\necho '[ERROR] no route to host'; exit 1\n")
    maven.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(BrokerError, match="no route to host"):
        jars.kafka_jars()
    assert [] == list((tmp_path / "cache" / "streamapp").iterdir())


def test_cached_jars_need_no_maven(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """After the first time the network is not asked."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(jars, "_copy_dependencies", lambda target: target.mkdir())
    first = jars.kafka_jars()
    monkeypatch.setattr(jars, "_copy_dependencies", lambda target: pytest.fail("asked Maven"))
    assert first == jars.kafka_jars()


def test_missing_docker_says_what_else_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no engine answers Redpanda can't be had, and the other kinds are named."""
    monkeypatch.setenv("DOCKER_HOST", "tcp://127.0.0.1:1")
    with pytest.raises(BrokerError, match=r"no Docker engine answers: .* --kind kafka or noida"):
        LocalBroker.start(BrokerKind.REDPANDA)


def test_redpanda_is_the_one_of_the_compose_file() -> None:
    """Tests and docker-compose run the same image."""
    compose = yaml.safe_load((Path(__file__).parents[2] / "docker-compose.yml").read_text())
    assert compose["services"]["redpanda"]["image"] == f"{redpanda.IMAGE}:{redpanda.VERSION}"


def test_server_that_ends_at_once_is_told_by_its_last_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A broker that fails at start gives its last line and where the rest is; no state stays."""
    failing = tmp_path / "noida-db"
    failing.write_text("#!/bin/sh\necho no space left on device\nexit 1\n")
    failing.chmod(0o755)
    monkeypatch.setattr("streamapp.broker.noida._binary", lambda: failing)
    with pytest.raises(BrokerError, match="ended at once: no space left on device"):
        LocalBroker.start(BrokerKind.NOIDA, directory=tmp_path / "broker")
    assert LocalBroker.find(tmp_path / "broker") is None


@pytest.mark.integration
def test_a_cluster_id_may_begin_with_a_dash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One random id in 64 does: Kafka's own tool takes it for an id all the same."""
    monkeypatch.setattr(kafka.uuid, "uuid4", lambda: uuid.UUID(bytes=b"\xfb" * 16))
    config = kafka._write_config(free_port(), tmp_path)
    kafka._format_storage([kafka._java(), "-cp", f"{jars.kafka_jars()}/*"], config)
    assert "cluster.id=-" in (tmp_path / "log" / "meta.properties").read_text()
