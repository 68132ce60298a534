"""`streamapp generate`: labelled synthetic payments, for tests and load."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from streamapp.cli.durations import duration_ms
from streamapp.cli.errors import UsageError
from streamapp.replay.errors import RecordedError
from streamapp.replay.fraud_patterns import PATTERNS

if TYPE_CHECKING:
    import pyarrow as pa

_FIRST_DAY: Final = datetime(2024, 1, 1, tzinfo=UTC)


def generate(
    output: Annotated[Path, typer.Argument(help="File to write: .parquet or .csv.")],
    *,
    users: Annotated[int, typer.Option(min=1, max=1_000_000, help="Users.")] = 1_000,
    days: Annotated[int, typer.Option(min=60, max=3_650, help="Days of genuine payments.")] = 90,
    start: Annotated[datetime, typer.Option("--from", help="The first day.  [UTC]")] = _FIRST_DAY,
    episodes: Annotated[
        int, typer.Option(min=0, max=100_000, help="Users that each pattern befalls.")
    ] = 10,
    patterns: Annotated[
        str | None, typer.Option(help=f"With commas between.  [{','.join(PATTERNS)}]")
    ] = None,
    label_delay: Annotated[
        str, typer.Option(help="Mean time until a fraud is known as one: 7d, 36h.")
    ] = "7d",
    seed: Annotated[int, typer.Option(min=0, max=2**31 - 1, help="Of all chance.")] = 1,
    force: Annotated[bool, typer.Option("--force", help="Write over what is there.")] = False,
) -> None:
    """Make payments of users with habits, and frauds that follow named patterns.

    Columns: those of a transaction, is_fraud, scenario (number of the pattern, 0 genuine) and
    label_time. The same options give the same file. For tests and load: nothing measured on it
    says how well fraud is found.
    """
    from streamapp.replay.synthetic import Plan, synthetic  # noqa: PLC0415 - pyarrow takes a while

    if output.suffix not in (".parquet", ".csv"):
        raise UsageError(f"{output}: ends in {output.suffix or 'nothing'}, give .parquet or .csv")
    if output.exists() and not force:
        raise UsageError(f"{output} is there already; add --force to write over it")
    plan = Plan(
        users=users,
        days=days,
        start_ms=round(start.replace(tzinfo=UTC).timestamp()) * 1_000,
        episodes=episodes,
        label_delay_ms=duration_ms("--label-delay", label_delay),
        seed=seed,
        patterns=_chosen(patterns),
    )
    try:
        table = synthetic(plan)
        _write(table, output)
    except RecordedError as error:
        raise UsageError(str(error)) from error
    except OSError as error:
        raise UsageError(f"{error.filename or output}: {error.strerror}") from error
    frauds = sum(table["is_fraud"].to_pylist())
    typer.echo(f"{table.num_rows:,} payments of {users:,} users, {frauds:,} fraud, in {output}")


def _chosen(patterns: str | None) -> tuple[str, ...]:
    if patterns is None:
        return tuple(PATTERNS)
    chosen = tuple(name.strip() for name in patterns.split(","))
    unknown = [name for name in chosen if name not in PATTERNS]
    if unknown:
        raise UsageError(f"--patterns: no {unknown[0]!r}, there are {', '.join(PATTERNS)}")
    return tuple(dict.fromkeys(chosen))


def _write(table: "pa.Table", output: Path) -> None:
    import pyarrow.csv  # noqa: PLC0415
    import pyarrow.parquet  # noqa: PLC0415

    if output.suffix == ".csv":
        pyarrow.csv.write_csv(table, output)
    else:
        pyarrow.parquet.write_table(table, output, compression="zstd")
