"""`streamapp compile`: what it leaves behind is enough for the next process."""

import os
import subprocess
import sys
from pathlib import Path

SCRIPT = """
import sys
from numba.core.dispatcher import Dispatcher
from streamapp.cli.loops import compile_loops
compile_loops()
modules = [module for name, module in sys.modules.items() if name.startswith("streamapp.")]
loops = {one for module in modules for one in vars(module).values() if isinstance(one, Dispatcher)}
print(sum(one.stats.cache_hits.total() for one in loops))
print(sum(one.stats.cache_misses.total() for one in loops))
"""


def test_a_second_process_compiles_nothing() -> None:
    """Every loop that a worker needs to be ready is read from the cache."""
    env = {name: value for name, value in os.environ.items() if not name.startswith("STREAMAPP_")}
    found = [
        subprocess.run(
            [sys.executable, "-c", SCRIPT], env=env, capture_output=True, text=True, check=True
        ).stdout.split()
        for _ in range(2)
    ]
    hits, misses = map(int, found[1])
    assert hits > 20
    assert misses == 0


def test_a_model_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    """Exit code 2, as of any mistake in settings."""
    ended = subprocess.run(
        [Path(sys.executable).with_name("streamapp"), "compile"],
        env={**os.environ, "STREAMAPP_WORKER__MODEL_DIR": str(tmp_path / "none")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 2
    assert len(ended.stderr.splitlines()) == 1
