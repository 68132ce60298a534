"""More than can be answered is refused early, and cheaply."""

import asyncio
import time

from streamapp.api.access import Scope
from streamapp.api.pressure import UNDER_WAY_MIN, Pressure
from tests.api.parts import Api


def test_refused_under_pressure(api: Api) -> None:
    """503 with when to come again, before anything is looked at; health is still told."""
    key = api.key(Scope.READ)
    api.pressure.under_way = lambda: UNDER_WAY_MIN
    api.pressure.note(9.0)
    assert 200 == api.ask("GET", "/v1/anomalies", key).status_code
    api.pressure.note(0.6)
    for method, path in (("GET", "/v1/anomalies"), ("POST", "/v1/score"), ("GET", "/v1/keys")):
        answer = api.ask(method, path, None)
        assert (503, "1", "application/problem+json") == (
            answer.status_code,
            answer.headers["retry-after"],
            answer.headers["content-type"],
        )
    assert [200] * 3 == [
        api.ask("GET", path, key).status_code for path in ("/healthz", "/readyz", "/metrics")
    ]
    assert 'streamapp_api_limited_total{limit="pressure"}' in api.ask("GET", "/metrics", key).text
    api.pressure.note(0.0)
    assert 200 == api.ask("GET", "/v1/anomalies", key).status_code


def test_few_are_not_refused(api: Api) -> None:
    """A process that is only short of CPU answers those who ask one by one."""
    api.pressure.under_way = lambda: UNDER_WAY_MIN - 1
    for _ in range(3):
        api.pressure.note(9.0)
    assert 200 == api.ask("GET", "/v1/anomalies", api.key(Scope.READ)).status_code


def test_pressure_is_felt() -> None:
    """An event loop that can't keep up is seen as such, and seen to be over it."""
    pressure = Pressure(0.01, time.monotonic)
    pressure.under_way = lambda: UNDER_WAY_MIN

    async def press() -> bool:
        watch = asyncio.create_task(pressure.watch())
        deadline_s = time.monotonic() + 30
        while not pressure.is_too_high and time.monotonic() < deadline_s:
            busy_s = time.monotonic() + 0.05
            while time.monotonic() < busy_s:
                pass
            await asyncio.sleep(0)
        was_high = pressure.is_too_high
        while pressure.is_too_high and time.monotonic() < deadline_s:
            await asyncio.sleep(0.001)
        watch.cancel()
        return was_high and not pressure.is_too_high

    assert asyncio.run(press())
