"""Poison through a running worker, and through the decoder alone."""

import re
import subprocess
import sys
import time

import pytest

from streamapp.domain import decode
from streamapp.scoring.artifact import ModelArtifact
from tests.engine.deployment import Deployment, report
from tests.stress.fuzz import SlowError, run_one
from tests.stress.poison import poison

FUZZ_RUNS = 8_000


@pytest.mark.integration
def test_ten_thousand_mutants_disturb_nobody(
    deployment: Deployment, shipped_model: ModelArtifact
) -> None:
    """One verdict or one letter each, bytes intact; neighbours as if they had never come."""
    report(str(poison(deployment, shipped_model, mutants=10_000)))


def test_the_decoder_keeps_its_promise_when_fuzzed() -> None:
    """A shorter form of `make fuzz`."""
    command = [sys.executable, "-m", "tests.stress.fuzz", "--runs", str(FUZZ_RUNS)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert 0 == ended.returncode, ended.stderr[-2000:]
    assert re.search(rf"Done {FUZZ_RUNS}\b", ended.stdout + ended.stderr)


def test_the_fuzzer_notices_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the decoder raises ends the run."""

    def broken(_key: bytes, _value: bytes) -> None:
        raise KeyError

    monkeypatch.setattr(decode, "decode", broken)
    with pytest.raises(KeyError):
        run_one(b"{}")


def test_the_fuzzer_notices_slowness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time that the size does not explain ends the run."""

    def slow(_key: bytes, _value: bytes) -> None:
        until = time.thread_time() + 0.02
        while time.thread_time() < until:
            pass

    monkeypatch.setattr(decode, "decode", slow)
    with pytest.raises(SlowError, match="ms for 2 bytes"):
        run_one(b"{}")
