"""Run many seeds: `python -m tests.simulation.campaign --seeds 20000 --first 1`.

Exit status 1 where any seed fails; each is named with the command that shows its trace. One seed
alone is shown with its trace.
"""

import argparse
import gc
import logging
import multiprocessing
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import structlog

from benchmarks.machine import versions
from tests.simulation.simulation import Outcome, simulate
from tests.simulation.windows import fed_model

#: Seeds a process takes at a time.
CHUNK_SEEDS = 20

#: Garbage has cycles (tasks, loops); collecting it between seeds costs less than inside.
_COLLECT_EVERY_SEEDS = 20

_FAILURES_SHOWN_MAX = 20
_PROGRESS_SEEDS = 200


def main() -> int:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description="Simulate the checkpoint protocol.")
    parser.add_argument("--seeds", type=int, default=20_000, help="how many seeds")
    parser.add_argument("--first", type=int, default=1, help="the first of them")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--report", type=Path, help="write what was met as JSON")
    arguments = parser.parse_args()
    if arguments.seeds == 1:
        return _show(arguments.first)
    started = time.monotonic()
    met: Counter[str] = Counter()
    done = 0
    failing: list[Outcome] = []
    seeds = range(arguments.first, arguments.first + arguments.seeds)
    for outcome in outcomes(seeds, arguments.processes):
        done += 1
        met += outcome.met
        if outcome.broken:
            failing.append(outcome)
            if len(failing) <= _FAILURES_SHOWN_MAX:
                _say(f"\n{failure_text(outcome)}")
        if done % _PROGRESS_SEEDS == 0 or done == len(seeds):
            elapsed = time.monotonic() - started
            _say(f"{done:>7} of {len(seeds)} seeds, {len(failing)} failing, {elapsed:.0f} s")
    _say("met: " + ", ".join(f"{what} {met[what]}" for what in sorted(met)))
    elapsed = time.monotonic() - started
    where = f"{elapsed:.0f} s on {arguments.processes} processes"
    _say(f"{done} seeds in {where}: {len(failing)} failing")
    if arguments.report is not None:
        figures: dict[str, Any] = {"first": seeds[0], "seeds": done, "failing": len(failing)}
        figures |= {
            "seconds": round(elapsed),
            "processes": arguments.processes,
            "met": dict(sorted(met.items())),
            "versions": versions(),
        }
        arguments.report.write_bytes(msgspec.json.format(msgspec.json.encode(figures)) + b"\n")
    return 1 if failing else 0


def outcomes(seeds: range, processes: int) -> Iterator[Outcome]:
    """The outcome of each seed, as they come."""
    fed_model()  # fitted once, and what it is made of; the processes inherit them
    context = multiprocessing.get_context("fork")
    with context.Pool(processes, _prepare) as pool:
        yield from pool.imap_unordered(_run, seeds, CHUNK_SEEDS)


def failure_text(outcome: Outcome) -> str:
    """What is broken, and how to see it again."""
    broken = "\n".join(f"  {one}" for one in outcome.broken)
    return f"seed {outcome.seed} ({outcome.guarantee}):\n{broken}\n  again: {command(outcome.seed)}"


def command(seed: int) -> str:
    """What repeats a seed and shows its trace."""
    return f"make simulate SEEDS=1 FIRST={seed}"


def _show(seed: int) -> int:
    _quiet()
    outcome = simulate(seed, keeps_trace=True)
    _say("\n".join(outcome.trace))
    _say(failure_text(outcome) if outcome.broken else f"seed {seed} ({outcome.guarantee}): well")
    return 1 if outcome.broken else 0


def _prepare() -> None:
    _quiet()
    gc.disable()
    gc.freeze()


def _run(seed: int) -> Outcome:
    outcome = simulate(seed)
    if seed % _COLLECT_EVERY_SEEDS == 0:
        gc.collect()
    return outcome


def _quiet() -> None:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
