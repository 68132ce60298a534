"""The guarantee is asked of the broker once, at start, and never promised without."""

import pytest

from streamapp.engine.guarantee import GuaranteeError, chosen_guarantee
from streamapp.engine.settings import GuaranteeWish, WorkerSettings
from streamapp.kafka.settings import KafkaSettings
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, assert_undisturbed
from tests.engine.running import run_async
from tests.kafka.conftest import Broker
from tests.servers.without_transactions import without_transactions

pytestmark = pytest.mark.integration


def chosen(bootstrap_servers: str, wish: GuaranteeWish) -> str:
    """What a worker would choose at this broker."""
    settings = WorkerSettings(group="probe", guarantee=wish)
    client = KafkaSettings(bootstrap_servers=bootstrap_servers).aiokafka()
    return run_async(chosen_guarantee(settings, client, "transactions"))


@pytest.mark.parametrize("wish", ["auto", "exactly_once"])
def test_transactions_where_the_broker_has_them(
    kafka_broker: Broker, noida_broker: Broker, wish: GuaranteeWish
) -> None:
    """Apache Kafka has, and so has noida-db."""
    assert "exactly_once" == chosen(kafka_broker.bootstrap_servers, wish)
    assert "exactly_once" == chosen(noida_broker.bootstrap_servers, wish)


def test_a_wish_for_less_needs_no_question() -> None:
    """Nobody has to answer."""
    assert "at_least_once" == chosen("127.0.0.1:1", "at_least_once")


@pytest.mark.parametrize("hidden", [frozenset({22, 24, 25, 26, 28}), frozenset({24, 25, 26, 28})])
def test_without_transactions_auto_is_at_least_once(
    kafka_broker: Broker, hidden: frozenset[int]
) -> None:
    """Also where idempotent producers are all there is; an explicit wish is refused."""
    with without_transactions(kafka_broker.bootstrap_servers, hidden) as address:
        assert "at_least_once" == chosen(address, "auto")
        with pytest.raises(GuaranteeError, match=r"but the broker has no trans.*auto"):
            chosen(address, "exactly_once")


def test_silence_is_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A broker that is away or slow is not one without transactions."""
    monkeypatch.setattr("streamapp.engine.guarantee._ANSWER_TIMEOUT_S", 1.0)
    with pytest.raises(GuaranteeError):
        chosen("127.0.0.1:1", "auto")


def test_a_worker_says_what_it_chose_and_why(
    deployment: Deployment, shipped_model: ModelArtifact
) -> None:
    """One line, and a metric; an explicit wish that can't be kept ends it with code 2."""
    deployment.make_topics()
    deployment.replay(500)
    with without_transactions(deployment.kafka.bootstrap_servers) as address:
        there = {"STREAMAPP_KAFKA__BOOTSTRAP_SERVERS": address}
        strict = deployment.worker(environment=there, guarantee="exactly_once")
        assert 2 == strict.await_end()
        assert "exactly_once, but the broker has no transactions" in strict.log.read_text()
        worker = deployment.worker(environment=there)
        worker.await_ready()
        [told] = worker.logged("guarantee_chosen")
        assert ("at_least_once", "warning") == (told["guarantee"], told["level"])
        assert "does not know InitProducerId" in told["why"]
        assert (
            'streamapp_guarantee_info{guarantee="at_least_once"} 1.0' in worker.get("/metrics")[1]
        )
        found = deployment.found(500)
        assert 0 == worker.terminate()[0]
    assert_undisturbed(deployment, deployment.expected(shipped_model), found)
