"""Payments sent at a given rate, and the latency of their verdicts at both kinds of reader."""

import msgspec
import numpy as np
from numpy.typing import NDArray

from benchmarks import worker_metrics
from benchmarks.latency_figures import Latency, latency
from benchmarks.reader import Isolation
from benchmarks.session import Session
from benchmarks.worker_metrics import Inside

GUARANTEES = ("exactly_once", "at_least_once")
ISOLATIONS: tuple[Isolation, ...] = ("read_committed", "read_uncommitted")

#: At the head of each phase: not in the figures.
SKIP_S = 1.0


class Window(msgspec.Struct, frozen=True):
    """When payments of a rate were due. behind: how late the generator itself was.

    worker: None where a relay took its place.
    """

    rate: int
    start_us: int
    end_us: int
    cpu_us_per_event: dict[str, float]
    cores: dict[str, float]
    generator_behind_ms_p99: float
    generator_behind_ms_max: float
    worker: Inside | None


class Paced(msgspec.Struct, frozen=True):
    """One reader's latencies at one rate."""

    isolation: Isolation
    window: Window
    latency: Latency


def send_paced(session: Session, rate: int, seconds: float) -> Window:
    """Send at a rate, and wait for the verdicts; the first `SKIP_S` come on top of `seconds`."""
    before = _counted(session)
    sent, used = session.send(rate=rate, seconds=seconds + SKIP_S, skip_s=SKIP_S)
    session.await_read()
    start_us = sent.start_us + int(SKIP_S * 1e6)
    return Window(
        rate=rate,
        start_us=start_us,
        end_us=start_us + int(seconds * 1e6),
        cpu_us_per_event=used.per_event_us(),
        cores=used.cores(),
        generator_behind_ms_p99=sent.behind_ms_p99,
        generator_behind_ms_max=sent.behind_ms_max,
        worker=worker_metrics.between(before, _counted(session)) if before else None,
    )


def _counted(session: Session) -> dict[str, float]:
    """What the worker has counted; nothing where there is none."""
    return worker_metrics.read(session.port()) if "worker0" in session.processes else {}


def both_readers(
    window: Window, committed: NDArray[np.int64], uncommitted: NDArray[np.int64]
) -> list[Paced]:
    """The window's latencies at each reader, in the order of ISOLATIONS, from all they noted."""
    return [
        Paced(isolation, window, latency(times, window.start_us, window.end_us))
        for isolation, times in zip(ISOLATIONS, (committed, uncommitted), strict=True)
    ]
