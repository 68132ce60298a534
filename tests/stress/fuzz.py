"""Fuzzes the decoder: python -m tests.stress.fuzz [--runs 20000] [--seed 1] [--corpus DIR].

Guided by coverage where atheris is to be had (Linux, x86-64), else by the mutations alone. Each
execution holds `decode` to its promise: a transaction that survives being encoded again, or a
documented reason with its field; never an exception, and never slow. What breaks it is written to
the corpus directory as `crash-…`; `--input FILE` runs one such file again.
"""

import gc
import random
import sys
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, Final

import typer

try:
    import atheris
except ImportError:  # no wheel for this machine
    atheris = None

from streamapp.domain import dead_letter, decode, transaction
from tests.domain.messages import KEY, message
from tests.domain.promise import settled
from tests.stress.mutations import MUTATIONS, mutated

#: CPU time a message may cost: some 20 times what the slowest found needs.
FIXED_S: Final = 0.010
S_PER_BYTE: Final = 2e-6

#: Longest input: a little over the decoder's own limit.
INPUT_BYTES_MAX: Final = transaction.PAYLOAD_BYTES_MAX + 512
_SEEDS: Final = 400
#: Stands between key and value in an input; such a key would be refused anyway.
_BETWEEN: Final = b"\xff\x00\xff"
_GOOD: Final = message(merchant_id='"m1"', channel='"web"', ip_risk_score="0.5")


class SlowError(Exception):
    """A message took more time than its size explains."""


def run_one(data: bytes) -> None:
    """One execution; raises what breaks the promise."""
    key, value = split(data)
    started = time.thread_time()
    decode.decode(key, value)
    spent = time.thread_time() - started
    if spent > FIXED_S + S_PER_BYTE * len(data):
        raise SlowError(f"{spent * 1e3:.1f} ms for {len(data)} bytes")
    settled(key, value)


def split(data: bytes) -> tuple[bytes, bytes]:
    """Key and value of an input; without a mark, the key is the one that fits."""
    key, between, value = data.partition(_BETWEEN)
    return (key, value) if between else (KEY, data)


def mutate(data: bytes, size_max: int, seed: int) -> bytes:
    """Half the time a structured mutation of a valid message, else libFuzzer's own of the input."""
    rng = random.Random(seed)
    if rng.random() < 0.5:
        return grown(rng)[:size_max]
    return bytes(atheris.Mutate(data, size_max))


def grown(rng: random.Random) -> bytes:
    """An input made by the mutations."""
    mutant = mutated(rng, KEY, _GOOD)
    value = mutant.value or b""
    return value if mutant.key == KEY else (mutant.key or b"") + _BETWEEN + value


def guided(runs: int, seed: int, corpus: Path) -> None:
    """Hand over to libFuzzer, which ends the process itself, with status 0 where all is well."""
    rng = random.Random(seed)
    for number in range(_SEEDS):
        (corpus / f"seed-{number}").write_bytes(grown(rng)[:INPUT_BYTES_MAX])
    for module in (decode, dead_letter, transaction):
        _instrument(module)
    options = [f"-atheris_runs={runs}", f"-seed={seed}", f"-max_len={INPUT_BYTES_MAX}"]
    options += ["-timeout=30", "-rss_limit_mb=2048", f"-artifact_prefix={corpus}/"]
    options += ["-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], run_one, custom_mutator=mutate)
    atheris.Fuzz()


def _instrument(module: Any) -> None:
    for name, value in vars(module).items():
        if hasattr(value, "__code__") and value.__module__ == module.__name__:
            setattr(module, name, atheris.instrument_func(value))


def unguided(runs: int, seed: int, corpus: Path) -> None:
    """The mutations alone."""
    rng = random.Random(seed)
    for number in range(runs):
        data = grown(rng)
        try:
            run_one(data)
        except Exception:
            (corpus / f"crash-{seed}-{number}").write_bytes(data)
            raise


def main(
    runs: Annotated[int, typer.Option(min=1, help="Executions.")] = 20_000,
    seed: Annotated[int, typer.Option(min=1, help="The same seed takes the same way.")] = 1,
    corpus: Annotated[Path | None, typer.Option(help="Keeps what was found.")] = None,
    one: Annotated[Path | None, typer.Option("--input", help="Run this file once.")] = None,
) -> None:
    """Fuzz; exit status 1 or above where the decoder breaks its promise."""
    gc.disable()  # a collection is no message's fault; nothing here makes cycles
    if one is not None:
        run_one(one.read_bytes())
        return
    directory = corpus or Path(tempfile.mkdtemp(prefix="fuzz-"))
    directory.mkdir(parents=True, exist_ok=True)
    typer.echo(f"{len(MUTATIONS)} mutations, inputs in {directory}")
    (unguided if atheris is None else guided)(runs, seed, directory)


if __name__ == "__main__":
    typer.run(main)
