"""`streamapp worker` with traps at its named points: python -m tests.crash.launcher ORDER."""

import signal
import sys
from pathlib import Path

from streamapp.cli.main import run
from tests.crash.points import Trap, install


def main() -> None:
    """Set the traps, then be an ordinary worker."""
    trap = Trap(Path(sys.argv[1]))
    signal.signal(signal.SIGUSR1, trap.read_order)
    install(trap)
    trap.read_order()
    sys.argv = ["streamapp", "worker"]
    run()


if __name__ == "__main__":
    main()
