"""Freed memory is kept for the next batch."""

import resource
import subprocess
import sys

# Page faults of making and dropping a megabyte a hundred times, after the setting has been made.
_PROGRAM = """
import resource, sys
if sys.argv[1] == "kept":
    from streamapp.engine.memory import keep_freed_memory
    keep_freed_memory()
def fill():
    first = bytearray(1 << 20)
    return bytes(first)
fill()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(100):
    fill()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(how: str) -> int:
    """Page faults of the program with or without the setting."""
    command = [sys.executable, "-c", _PROGRAM, how]
    return int(subprocess.run(command, capture_output=True, check=True, timeout=60).stdout)


def test_what_a_batch_frees_the_next_one_takes() -> None:
    """Hardly any page is asked of the system again."""
    pages = 2 * (1 << 20) // resource.getpagesize()
    assert faults("kept") < pages
