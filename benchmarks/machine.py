"""What a figure was measured on, and what a process has used, from /proc (Linux)."""

import contextlib
import os
import platform
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_LIBRARIES = (
    "streamapp",
    "faust-streaming",
    "aiokafka",
    "confluent-kafka",
    "scikit-learn",
    "river",
    "numpy",
    "numba",
    "msgspec",
    "rocksdict",
)
#: What changes with a measurement and decides none of its figures.
_NO_CODE = ("benchmarks/results", "docs", "*.md")


@dataclass(frozen=True, slots=True)
class Used:
    """CPU seconds used so far: by one process, and by the whole machine (idle excluded)."""

    process_s: float
    machine_s: float


@dataclass(frozen=True, slots=True)
class Use:
    """What processes have used up to a moment, or between two: CPU seconds, memory, payments.

    others_s: CPU seconds of everything else on the machine. stolen_s: those that its host gave to
    other machines while this one had use for them. memory_mib: resident, at the end. read_each_s:
    verdicts read in each whole second in between.
    """

    at_s: float
    sent: int
    read: int
    cpu_s: dict[str, float]
    others_s: float
    stolen_s: float
    memory_mib: dict[str, int]
    read_each_s: tuple[int, ...] = ()

    def __sub__(self, before: "Use") -> "Use":
        return Use(
            self.at_s - before.at_s,
            self.sent - before.sent,
            self.read - before.read,
            {name: s - before.cpu_s.get(name, 0.0) for name, s in self.cpu_s.items()},
            self.others_s - before.others_s,
            self.stolen_s - before.stolen_s,
            self.memory_mib,
        )

    def per_event_us(self) -> dict[str, float]:
        """CPU µs for each verdict read, by process."""
        return {name: round(s / max(self.read, 1) * 1e6, 2) for name, s in self.cpu_s.items()}

    def cores(self) -> dict[str, float]:
        """CPU seconds a second, by process; `others` is the rest of the machine, `stolen` lost."""
        all_s = self.cpu_s | {"others": self.others_s, "stolen": self.stolen_s}
        return {name: round(s / self.at_s, 2) for name, s in all_s.items()}

    @property
    def per_s(self) -> float:
        """Verdicts read a second."""
        return self.read / self.at_s


def usage(pids: Mapping[str, int], sent: int, read: int) -> Use:
    """What these processes have used so far; one that has ended counts no more."""
    cpu_s, memory = {}, {}
    for name, pid in pids.items():
        with contextlib.suppress(OSError):
            cpu_s[name] = used(pid).process_s
            memory[name] = memory_mib(pid)
    busy_s, stolen_s = _machine_s()
    others_s = busy_s - sum(cpu_s.values())
    return Use(time.perf_counter(), sent, read, cpu_s, others_s, stolen_s, memory)


def used(pid: int) -> Used:
    """CPU used by a process and by the machine, user and system time. Raises OSError."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    process = int(fields[11]) + int(fields[12])  # proc(5): fields 14 and 15, utime and stime
    busy_s, _stolen_s = _machine_s()
    return Used(process / _TICKS_PER_S, busy_s)


def used_by_tree(pid: int) -> Used:
    """As `used`, of a process and all processes below it. Raises OSError."""
    family = [used(member) for member in tree(pid)]
    return Used(sum(one.process_s for one in family), family[0].machine_s)


def tree(pid: int) -> list[int]:
    """A process and those below it that run now: an engine may be several."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(")")[2].split()[1])
    family = [pid]
    for member in family:
        family += [child for child, parent in parents.items() if parent == member]
    return family


def _machine_s() -> tuple[float, float]:
    """CPU seconds used so far, and stolen: proc(5), the line of all cores."""
    user, nice, system, _idle, _iowait, irq, softirq, stolen, *_ = (
        int(field) / _TICKS_PER_S
        for field in Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    )
    return user + nice + system + irq + softirq, stolen


def peak_memory_mib(pid: int) -> int:
    """The largest resident memory a process has had. Raises OSError."""
    return _kib_of(Path(f"/proc/{pid}/status"), "VmHWM") // 1024


def memory_mib(pid: int) -> int:
    """The resident memory of a process. Raises OSError."""
    return _kib_of(Path(f"/proc/{pid}/status"), "VmRSS") // 1024


def machine() -> dict[str, str | int]:
    """The machine, without anything that names it."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count() or 0,
        "memory_gib": round(_kib_of(Path("/proc/meminfo"), "MemTotal") / 1024**2),
        "system": f"{platform.system()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """The commit, Python, and the libraries that decide the speed."""
    libraries = {name: version(name) for name in _LIBRARIES}
    commit = commit_of(Path(__file__).parent)
    return {"commit": commit, "python": platform.python_version(), **libraries}


def commit_of(directory: Path) -> str:
    """The commit, marked where code differs from it; empty without git."""
    code = (":(top)", *(f":(top,exclude){path}" for path in _NO_CODE))
    try:
        found = _git(directory, "describe", "--always", "--exclude=*").stdout.decode().strip()
        differs = _git(directory, "diff", "--quiet", "HEAD", "--", *code).returncode
    except OSError:
        return ""
    return f"{found}-dirty" if found and differs else found


def _git(directory: Path, *words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(("git", *words), cwd=directory, capture_output=True, check=False)


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        name, _, value = line.partition(":")
        if name.strip() == "model name":
            return value.strip()
    return platform.machine()


def _kib_of(path: Path, name: str) -> int:
    for line in path.read_text().splitlines():
        if line.startswith(f"{name}:"):
            return int(line.split()[1])
    raise OSError(f"{path} does not tell {name}")
