"""Limits of one caller: others don't feel them, and each refusal says when to come again."""

from http import HTTPStatus
from pathlib import Path

import pytest

from streamapp.api.access import Scope
from streamapp.api.limits import Limits
from streamapp.api.problems import Problem
from tests.api.parts import Api, Clock


def test_rate_is_per_key(tmp_path: Path) -> None:
    """429 with Retry-After once the burst is used up; another key goes on; time mends it."""
    api = Api(tmp_path, rate_per_s=10, rate_burst=1_000)
    busy, other = api.key(Scope.READ), api.key(Scope.READ)
    answers = [api.ask("GET", "/metrics", busy) for _ in range(1_001)]
    assert [200] * 1_000 == [one.status_code for one in answers[:1_000]]
    assert (429, "1") == (answers[-1].status_code, answers[-1].headers["retry-after"])
    assert 200 == api.ask("GET", "/metrics", other).status_code
    api.clock.now_s += 1
    assert 200 == api.ask("GET", "/metrics", busy).status_code


def test_requests_under_way_are_bounded() -> None:
    """The one above the bound is refused; a place is free again when one ends."""
    limits = Limits(1_000, 1_000, 2, Clock())
    with limits.request("a"):
        with limits.request("a"), pytest.raises(Problem) as refused, limits.request("a"):
            pass
        assert HTTPStatus.TOO_MANY_REQUESTS == refused.value.status
        with limits.request("a"), limits.request("b"):
            pass


def test_a_large_charge_says_how_long_it_takes() -> None:
    """A batch may have to wait for its tokens."""
    clock = Clock()
    limits = Limits(100, 1_000, 2, clock)
    limits.charge("a", 900)
    with pytest.raises(Problem) as refused:
        limits.charge("a", 600)
    assert "5" == refused.value.headers["Retry-After"]
    clock.now_s += 5
    limits.charge("a", 600)


def test_callers_remembered_are_bounded() -> None:
    """A flood of callers costs no memory without end."""
    limits = Limits(1, 1, 1, Clock())
    for number in range(10_100):
        limits.charge(str(number), 1)
    assert 10_000 == len(limits._buckets)
