"""Health over HTTP: alive from the loop itself, ready when the engine says so, metrics by name."""

import aiohttp
import pytest
from prometheus_client import REGISTRY

from streamapp.engine import metrics
from streamapp.engine.health import HealthServer
from tests.engine.running import run_async

Answer = tuple[int, str, str]


async def asked(path: str, *, ready: bool) -> Answer:
    """Status, content type and text of one answer of a fresh server."""
    server = HealthServer("127.0.0.1", 0, lambda: None if ready else "partition 3 stopped: why")
    port = await server.start()
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.get(f"http://127.0.0.1:{port}{path}") as answer,
        ):
            return answer.status, answer.content_type, await answer.text()
    finally:
        await server.stop()


@pytest.mark.parametrize("ready", [True, False])
def test_liveness_is_an_answer(ready: bool) -> None:
    """A worker that recovers or waits is alive: it must not be killed for it."""
    assert (200, "text/plain", "alive\n") == run_async(asked("/healthz", ready=ready))


def test_readiness_is_the_engines() -> None:
    """200 only when it scores; otherwise 503 with a word why."""
    assert (200, "text/plain", "ready\n") == run_async(asked("/readyz", ready=True))
    status, _, text = run_async(asked("/readyz", ready=False))
    assert (503, "not ready: partition 3 stopped: why\n") == (status, text)


def test_metrics_are_those_of_one_module() -> None:
    """Each is there by its name, with its help."""
    status, content_type, text = run_async(asked("/metrics", ready=True))
    assert (200, "text/plain") == (status, content_type)
    names = [name for name in vars(metrics) if name.isupper() and not name.startswith("_")]
    assert len(names) > 15
    for name in names:
        one = getattr(metrics, name)
        assert f"# HELP {one._name}" in text
        assert one._name.startswith("streamapp_")


def test_nothing_else_is_served() -> None:
    """No page of tables or users."""
    assert 404 == run_async(asked("/table", ready=True))[0]
    assert 404 == run_async(asked("/", ready=True))[0]


def test_a_taken_port_is_an_error() -> None:
    """A worker without health must not run unseen."""

    async def second() -> None:
        first = HealthServer("127.0.0.1", 0, lambda: None)
        port = await first.start()
        other = HealthServer("127.0.0.1", port, lambda: None)
        try:
            await other.start()
        finally:
            await other.stop()
            await first.stop()

    with pytest.raises(OSError, match="address already in use"):
        run_async(second())


def test_labels_are_bounded() -> None:
    """No metric has a label that could name a user, a merchant or an amount."""
    allowed = {"partition", "severity", "reason", "found", "version", "guarantee"}
    allowed |= {"status", "stage"}
    for name, one in vars(metrics).items():
        if name.isupper() and not name.startswith("_"):
            assert set(one._labelnames) <= allowed
    assert REGISTRY.get_sample_value("streamapp_ready") is not None
