"""`streamapp state`: verify, rebuild, repair and export the local state of partitions."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
import typer
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from streamapp.cli.errors import UsageError
from streamapp.cli.settings import Settings, load_settings

if TYPE_CHECKING:
    from streamapp.engine.inspection import Inspection
    from streamapp.engine.repair import Place, Repair
    from streamapp.engine.store import Origin, StateStore

app = typer.Typer(
    help="Local state of partitions: verify it, build it again, mend it, export it. "
    "The worker that uses it has to be stopped first.",
    no_args_is_help=True,
)

Config = Annotated[Path | None, typer.Option("--config", help="Settings file.")]
Chosen = Annotated[
    int | None, typer.Option("--partition", min=0, help="Only this one; else all that are here.")
]


@app.command("verify")
def verify(
    *,
    partition: Chosen = None,
    deep: Annotated[
        bool,
        typer.Option(
            "--deep", help="Also replay the changelog beside the state and compare every byte."
        ),
    ] = False,
    offline: Annotated[
        bool, typer.Option("--offline", help="Ask no broker: look at the files only.")
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Write JSON instead of a table.")] = False,
    config: Config = None,
) -> None:
    """Verify local state: RocksDB, every profile's checksum and layout, offsets, topic ids.

    Changes nothing. Exit code 1 where anything is wrong, with the command that mends it.
    """
    if deep and offline:
        raise UsageError("--deep reads the changelog from the broker: leave out --offline")
    settings = load_settings(config)
    with _explained():
        found = list(_inspected(settings, partition, deep=deep, offline=offline))
    if json:
        typer.echo(msgspec.json.format(msgspec.json.encode(found), indent=2))
    else:
        _show(found)
    raise typer.Exit(1 if any(one.problems for one in found) else 0)


@app.command("rebuild")
def rebuild(*, partition: Chosen = None, config: Config = None) -> None:
    """Build local state again from the changelog.

    What stands there is set aside as p<number>.damaged-<n>, of which the newest is kept. With
    --partition also one that is not here yet, so that a worker finds it ready.
    """
    settings = load_settings(config)
    with _explained():
        from streamapp.engine.local_state import partition_directory  # noqa: PLC0415

        places = _chosen(settings, partition, may_be_missing=True)
        for one in places:
            refused = _rebuild(settings, one)
            if refused is not None:
                raise UsageError(refused)
            directory = partition_directory(settings.worker.state_dir, one)
            typer.echo(f"partition {one}: built again in {directory}")


@app.command("repair")
def repair(
    *,
    partition: Annotated[int, typer.Option("--partition", min=0, help="The one to repair.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what would be done.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Don't ask.")] = False,
    config: Config = None,
) -> None:
    """Make a partition go on after its changelog or source topic was lost, cut or made again.

    Says what it will do and what is lost by it, and asks. Run it where the newest local state is
    (`streamapp state verify` shows the offsets), with that worker stopped; then start the workers
    again.
    """
    settings = load_settings(config)
    with _explained(), _to_repair(settings, partition) as (plan, store, place):
        if not plan.is_needed:
            typer.echo(f"partition {partition}: nothing to repair")
            return
        for step in plan.steps:
            typer.echo(f"will {step}")
        for loss in plan.losses:
            typer.echo(f"lost: {loss}")
        if dry_run:
            return
        if not yes and not typer.confirm("Go on?"):
            raise typer.Exit(1)
        from streamapp.engine.repair import carry_out  # noqa: PLC0415

        is_fenced = _is_fenced(settings)
        written = carry_out(plan, store, place, settings.kafka, transactional=is_fenced)
        typer.echo(
            f"partition {partition}: {written:,} records written to {place.present.changelog}, "
            f"goes on from {plan.position}; start the workers again"
        )


@app.command("export")
def export(
    output: Annotated[Path, typer.Argument(help="The file: .jsonl or .parquet.")],
    *,
    partition: Chosen = None,
    everything: Annotated[
        bool, typer.Option("--all-fields", help="Also every field as it is stored.")
    ] = False,
    config: Config = None,
) -> None:
    """Write users' profiles to a file that analysts read, without a broker.

    This is personal data: user ids and how, when and how much each of them pays. The file can be
    read by its owner only; keep and delete it as your rules for such data say.
    """
    from streamapp.engine import state_export  # noqa: PLC0415
    from streamapp.engine.local_state import open_sound, partition_directory  # noqa: PLC0415

    settings = load_settings(config)
    if output.suffix not in state_export.SUFFIXES:
        raise UsageError(f"{output}: the name must end in {' or '.join(state_export.SUFFIXES)}")
    if output.exists():
        raise UsageError(f"{output} exists: choose another name or remove it")
    changelog = settings.topics.changelog(settings.worker.group)

    def rows() -> Iterator[dict[str, Any]]:
        for one in _chosen(settings, partition):
            store = open_sound(partition_directory(settings.worker.state_dir, one), changelog)
            try:
                yield from state_export.rows(store, one, everything=everything)
            finally:
                store.close()

    with _explained():
        written = state_export.write(rows(), output)
    typer.echo(f"{written:,} profiles written to {output}")


def _chosen(
    settings: Settings, partition: int | None, *, may_be_missing: bool = False
) -> list[int]:
    from streamapp.engine.local_state import local_partitions  # noqa: PLC0415

    state_dir = settings.worker.state_dir
    here = local_partitions(state_dir)
    if partition is None and here:
        return list(here)
    if partition is not None and (partition in here or may_be_missing):
        if partition >= settings.topics.partitions:
            raise UsageError(f"the source has {settings.topics.partitions} partitions, from 0 on")
        return [partition]
    which = "no partition" if partition is None else f"not partition {partition}"
    raise UsageError(
        f"{state_dir.resolve()} holds {which}: set STREAMAPP_WORKER__STATE_DIR to the worker's"
    )


def _inspected(
    settings: Settings, partition: int | None, *, deep: bool, offline: bool
) -> "Iterator[Inspection]":
    from streamapp.engine.inspection import compare_deep, compare_offsets, inspect  # noqa: PLC0415
    from streamapp.engine.local_state import partition_directory  # noqa: PLC0415
    from streamapp.kafka.offsets import OffsetReader  # noqa: PLC0415

    chosen = _chosen(settings, partition)
    changelog = settings.topics.changelog(settings.worker.group)
    present = None if offline else _present(settings)
    is_fenced = not deep or _is_fenced(settings)
    for one in chosen:
        directory = partition_directory(settings.worker.state_dir, one)
        found = inspect(directory, one, changelog)
        if present is not None and found.changelog_offset is not None:
            source = settings.topics.name("transactions")
            with OffsetReader(settings.kafka, settings.worker.group) as reader:
                compare_offsets(found, directory, present, source, reader)
            if deep and not found.problems:
                client, timeout_s = settings.kafka.aiokafka(), settings.worker.stall_timeout_s
                compare_deep(found, directory, present, client, timeout_s, is_fenced=is_fenced)
        yield found


def _show(found: "list[Inspection]") -> None:
    table = Table(title="local state")
    table.add_column("partition", justify="right")
    for name in ("profiles", "changelog offset", "changelog end", "source position", "compared"):
        table.add_column(name, justify="right")
    table.add_column("found")
    for one in found:
        numbers = (
            one.profiles,
            one.changelog_offset,
            one.changelog_end,
            one.source_position,
            one.compared,
        )
        shown = ["-" if number is None else f"{number:,}" for number in numbers]
        verdict = "damaged" if one.problems else "sound"
        table.add_row(str(one.partition), *shown, Text(verdict))
    Console().print(table)
    for one in found:
        for problem in one.problems:
            typer.echo(f"partition {one.partition}: {problem}")


def _present(settings: Settings) -> "Origin":
    """The topics as the broker has them now. Raises UsageError where one is missing."""
    from streamapp.engine.store import Origin  # noqa: PLC0415
    from streamapp.kafka.topic_ids import TopicIds  # noqa: PLC0415

    changelog = settings.topics.changelog(settings.worker.group)
    source = settings.topics.name("transactions")
    ids = TopicIds(settings.kafka).ask([changelog, source])
    for topic in (changelog, source):
        if topic not in ids:
            raise UsageError(
                f"topic {topic} does not exist at {settings.kafka.bootstrap_servers}; a worker "
                f"makes it when it starts and then says what to do: streamapp worker"
            )
    return Origin(changelog, ids[changelog], ids[source])


def _is_fenced(settings: Settings) -> bool:
    from streamapp.engine.guarantee import chosen_guarantee  # noqa: PLC0415

    source = settings.topics.name("transactions")
    choice = chosen_guarantee(settings.worker, settings.kafka.aiokafka(), source)
    return asyncio.run(choice) == "exactly_once"


def _rebuild(settings: Settings, partition: int) -> str | None:
    """Set aside what is there and replay; what the changelog is refused for, if it is."""
    from streamapp.engine.local_state import (  # noqa: PLC0415
        open_or_begin_anew,
        open_sound,
        partition_directory,
        set_aside,
    )
    from streamapp.engine.store import DamagedStoreError  # noqa: PLC0415

    present = _present(settings)
    directory = partition_directory(settings.worker.state_dir, partition)
    if directory.exists():
        why = DamagedStoreError(directory, "damaged", "it is to be built again")
        try:
            open_sound(directory, present.changelog).close()  # nobody else may hold it
        except DamagedStoreError as error:
            why = error
        set_aside(directory, why)
    store = open_or_begin_anew(directory, present.changelog)
    try:
        return _replayed(settings, present, partition, store)
    finally:
        store.close()


def _replayed(
    settings: Settings, present: "Origin", partition: int, store: "StateStore"
) -> str | None:
    from streamapp.engine.recovery import recover  # noqa: PLC0415

    columns = (TextColumn("partition {task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(str(partition), total=None)

        def show(_partition: int, offset: int, end: int) -> None:
            progress.update(task, completed=offset, total=end)

        refused = asyncio.run(
            recover(
                {partition: store},
                present,
                settings.kafka.aiokafka(),
                settings.worker.stall_timeout_s,
                is_fenced=_is_fenced(settings),
                on_progress=show,
            )
        )
    return str(refused[partition]) if partition in refused else None


@contextmanager
def _to_repair(settings: Settings, partition: int) -> "Iterator[tuple[Repair, StateStore, Place]]":
    """The plan over a store that has all its changelog holds, where the changelog is its own."""
    from streamapp.engine.local_state import open_or_begin_anew, partition_directory  # noqa: PLC0415
    from streamapp.engine.repair import Place, changelog_is_lost, planned  # noqa: PLC0415
    from streamapp.kafka.offsets import OffsetReader  # noqa: PLC0415
    from streamapp.scoring.verdicts import SourcePartition  # noqa: PLC0415

    present = _present(settings)
    source = SourcePartition(settings.topics.name("transactions"), partition)
    with OffsetReader(settings.kafka, settings.worker.group) as reader:
        place = Place.found(settings.worker.group, source, present, reader)
    directory = partition_directory(settings.worker.state_dir, partition)
    store = open_or_begin_anew(directory, present.changelog)
    try:
        is_lost = changelog_is_lost(store, place) is not None
        applied = store.changelog_offset
        unsound = {} if is_lost else _caught_up(settings, present, partition, store)
        plan = planned(store, place, is_lost=is_lost, unsound=unsound, applied=applied)
        yield plan, store, place
    finally:
        store.close()


def _caught_up(
    settings: Settings, present: "Origin", partition: int, store: "StateStore"
) -> dict[bytes, int]:
    """Bring the store to the changelog's end; what in all of that can't be used, by key."""
    from streamapp.engine.inspection import ChangedKeys  # noqa: PLC0415
    from streamapp.engine.recovery import UnsoundChangelogError, recover  # noqa: PLC0415

    client, timeout_s = settings.kafka.aiokafka(), settings.worker.stall_timeout_s
    unsound: dict[bytes, int] = {}
    for target in (store, ChangedKeys(-1)):
        recovery = recover({partition: target}, present, client, timeout_s, is_fenced=False)
        refused = asyncio.run(recovery).get(partition)
        if isinstance(refused, UnsoundChangelogError) and refused.offsets:
            unsound |= refused.offsets
        elif refused is not None:
            raise UsageError(str(refused))
    return unsound


@contextmanager
def _explained() -> Iterator[None]:
    from streamapp.engine.guarantee import GuaranteeError  # noqa: PLC0415
    from streamapp.engine.recovery import RecoveryError  # noqa: PLC0415
    from streamapp.engine.repair import RepairError  # noqa: PLC0415
    from streamapp.engine.store import StoreError  # noqa: PLC0415
    from streamapp.features.profile import ProfileError  # noqa: PLC0415
    from streamapp.kafka.metadata import TopicError  # noqa: PLC0415

    try:
        yield
    except ProfileError as error:
        raise UsageError(f"{error}; see all of it: streamapp state verify") from error
    except (GuaranteeError, RecoveryError, RepairError, StoreError, TopicError) as error:
        raise UsageError(str(error)) from error
