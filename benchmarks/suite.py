"""The benchmarks of a worker one after another on one broker, as `make bench` runs them.

    python -m benchmarks.suite [--quick]

The broker is warmed up once. How much of each there is, is chosen so that all of `make bench` ends
within half an hour; alone each runs longer by default. Throughput is that of a worker for each
core; one worker alone stands beside its peers. One that fails doesn't keep the others from running.
"""

import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer

from benchmarks import latency, restart, scale, throughput
from benchmarks.contender import BenchmarkError
from benchmarks.report import console
from benchmarks.stand import Stand

#: Of a first look, which leaves the committed results alone.
QUICK_RESULTS: Final = Path(".streamapp/bench")

_WHOLE: Final[dict[str, Callable[..., None]]] = {
    "throughput_workers": partial(throughput.main, workers=2, at_least_once_seconds=6.0),
    "latency": partial(latency.main, seconds=2.0),
    "restart": restart.main,
    "scale": partial(scale.main, seconds=1.0),
}
_QUICK: Final[dict[str, Callable[..., None]]] = {
    "throughput_workers": partial(throughput.main, workers=2, quick=True),
    "latency": partial(latency.main, quick=True),
    "restart": partial(restart.main, quick=True),
    "scale": partial(scale.main, quick=True),
}


def main(
    quick: Annotated[bool, typer.Option("--quick", help="A first look at each.")] = False,
) -> None:
    """Run each, print its table, write its raw figures; exit status 1 if one failed."""
    failed = []
    with (
        tempfile.TemporaryDirectory(prefix="benchmark-") as directory,
        Stand.started("kafka", Path(directory)) as stand,
        stand.shared(),
    ):
        for name, run in (_QUICK if quick else _WHOLE).items():
            started_s = time.perf_counter()
            try:
                run(output=QUICK_RESULTS / f"{name}.json" if quick else None)
            except BenchmarkError as error:
                failed.append(name)
                console.print(f"{name}: {error}", markup=False)
            console.print(f"{name} took {time.perf_counter() - started_s:.0f} s")
    if failed:
        sys.exit(f"benchmarks.suite: failed: {', '.join(failed)}")


if __name__ == "__main__":
    typer.run(main)
