"""The small model and recorded traffic of the scoring tests, for the engine around them."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from streamapp.kafka.settings import KafkaSettings
from streamapp.scoring.artifact import ModelArtifact, load
from streamapp.scoring.default_model import default_model_dir
from tests.engine.deployment import Deployment
from tests.engine.fake_log import FakeBroker
from tests.engine.owner import NewOwner, Owner
from tests.kafka.conftest import Broker
from tests.scoring.conftest import Traffic, fed, model, traffic
from tests.scoring.mixed import mixed

__all__ = ["fed", "model", "traffic"]  # fixtures


@pytest.fixture(scope="session")
def messages(traffic: Traffic) -> Traffic:
    """Good, bad, repeated, late and far too early messages of one partition."""
    return mixed(traffic, 300)


@pytest.fixture(scope="session")
def shipped_model() -> ModelArtifact:
    """The model a worker loads unless told otherwise."""
    return load(default_model_dir())


@pytest.fixture
def deployment(kafka_broker: Broker, topic_prefix: str, tmp_path: Path) -> Iterator[Deployment]:
    """A system of its own on the session's broker; no topic is there yet."""
    kafka = KafkaSettings(bootstrap_servers=kafka_broker.bootstrap_servers)
    deployment = Deployment(kafka, topic_prefix, tmp_path)
    yield deployment
    deployment.close()


@pytest.fixture
def broker() -> FakeBroker:
    """A broker in memory."""
    return FakeBroker()


@pytest.fixture
def owner(broker: FakeBroker, model: ModelArtifact, tmp_path: Path) -> Iterator[NewOwner]:
    """Makes owners of one and the same partition."""
    born: list[Owner] = []

    def new_owner(**options: object) -> Owner:
        born.append(Owner(tmp_path / "p", broker, model, **options))  # type: ignore[arg-type]
        return born[-1]

    yield new_owner
    for one in born:
        one.store.close()
