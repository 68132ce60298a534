"""A partition's directory: opened where it is sound, set aside and begun anew where it is not.

What is begun anew is empty, so recovery fills it from the changelog: damaged state is never
served. Nothing is deleted but an older damaged copy that stood here before.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

import structlog

from streamapp.engine import metrics
from streamapp.engine.store import (
    PARTITION_STATE_KEY,
    DamagedStoreError,
    Fault,
    StateStore,
    StoreError,
)
from streamapp.scoring import partition_state
from streamapp.scoring.partition_state import PartitionStateError

log = structlog.get_logger()

for _fault in get_args(Fault):  # a count that has never been shown can't be seen to rise
    metrics.STATE_REBUILDS.labels(_fault)

#: Left in a store that was found damaged while it was in use, for the next one to open it.
CONDEMNED: Final = "CONDEMNED"

_DETAIL_CHARS_MAX: Final = 500
_ROCKSDB_FILE: Final = re.compile(
    r"CURRENT|IDENTITY|LOCK|LOG(\.old\.\d+)?|MANIFEST-\d+|OPTIONS-\d+(\.dbtmp)?"
    r"|\d+\.(sst|log|dbtmp|blob)|rocksdict-config\.json"
)


def partition_directory(state_dir: Path, partition: int) -> Path:
    """Where a partition's store is."""
    return state_dir / f"p{partition:05d}"


def local_partitions(state_dir: Path) -> dict[int, Path]:
    """Stores there are, by partition; copies set aside are not among them."""
    places = state_dir.glob("p" + "[0-9]" * 5) if state_dir.is_dir() else ()
    return {int(place.name[1:]): place for place in sorted(places)}


def open_or_begin_anew(directory: Path, changelog: str) -> StateStore:
    """The store, sound; an empty one where what stood there was not, and is set aside now.

    changelog: what it must be a copy of.

    Raises StoreBusyError where a living process holds it, StoreError where the disk fails.
    """
    try:
        return open_sound(directory, changelog)
    except DamagedStoreError as error:
        set_aside(directory, error)
        return StateStore(directory)


def open_sound(directory: Path, changelog: str) -> StateStore:
    """The store, or DamagedStoreError. Profiles are verified when they are read, not here."""
    _verify_names(directory)
    store = StateStore(directory)
    try:
        _verify_contents(store, changelog)
    except BaseException:
        store.close()
        raise
    return store


def _verify_names(directory: Path) -> None:
    """RocksDB would begin a new database among other people's files."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise DamagedStoreError(directory, "foreign", "it is no directory")
    strangers = sorted(_strangers(directory))
    if strangers:
        detail = f"it holds {strangers[0]}" + (" and more" if len(strangers) > 1 else "")
        raise DamagedStoreError(directory, "foreign", detail)


def _strangers(directory: Path) -> Iterator[str]:
    for place in directory.iterdir():
        if not _ROCKSDB_FILE.fullmatch(place.name) and place.name != CONDEMNED:
            yield place.name


def _verify_contents(store: StateStore, changelog: str) -> None:
    condemned = store.directory / CONDEMNED
    if condemned.exists():
        detail = condemned.read_text("utf-8", errors="replace")[:_DETAIL_CHARS_MAX]
        raise DamagedStoreError(store.directory, "damaged", detail)
    origin = store.origin
    if origin is not None and origin.changelog != changelog:
        detail = f"it belongs to {origin.changelog}, expected {changelog}"
        raise DamagedStoreError(store.directory, "foreign", detail)
    state = store.get(PARTITION_STATE_KEY)
    if state is None:
        return
    try:
        partition_state.verify(state)
    except PartitionStateError as error:
        fault: Fault = "layout" if error.is_layout else "damaged"
        raise DamagedStoreError(store.directory, fault, str(error)) from error


def condemn(directory: Path, detail: str) -> None:
    """Note that the store in use was found damaged: it will not be opened again as it is."""
    log.error("state_damaged", directory=str(directory), detail=detail)
    if directory.is_dir():
        (directory / CONDEMNED).write_text(detail[:_DETAIL_CHARS_MAX], encoding="utf-8")


def condemned(directory: Path, detail: str) -> StoreError:
    """Condemn a store in use: nothing is served or committed that came from there."""
    condemn(directory, detail)
    return StoreError(
        f"local state {directory} is damaged: {detail}; the worker ends, and when it is started "
        f"again the directory is set aside and built again from the changelog"
    )


def set_aside(directory: Path, error: DamagedStoreError) -> Path:
    """Move what stands there out of the way; where it is now. Raises StoreError.

    Of our own damaged copies the newest is kept, for whoever asks why. What is not ours is kept.
    """
    kind = "foreign" if error.fault == "foreign" else "damaged"
    older = sorted(directory.parent.glob(f"{directory.name}.{kind}-*"), key=_number)
    number = _number(older[-1]) + 1 if older else 1
    target = directory.with_name(f"{directory.name}.{kind}-{number}")
    try:
        directory.rename(target)
        for place in older if kind == "damaged" else ():
            _remove(place)
    except OSError as failure:
        raise StoreError(
            f"{directory} can't be set aside as {target.name}: {failure.strerror}; mend the rights "
            f"of {directory.parent}, then start the worker again"
        ) from failure
    metrics.STATE_REBUILDS.labels(error.fault).inc()
    log.warning(
        "state_set_aside",
        directory=str(directory),
        moved_to=target.name,
        reason=error.fault,
        detail=error.detail,
    )
    return target


def _number(place: Path) -> int:
    digits = place.name.rpartition("-")[2]
    return int(digits) if digits.isdecimal() else 0


def _remove(place: Path) -> None:
    """Remove an older damaged copy: RocksDB's files and the directory that held them."""
    for file in place.iterdir():
        if _ROCKSDB_FILE.fullmatch(file.name) or file.name == CONDEMNED:
            file.unlink()
    if not any(place.iterdir()):
        place.rmdir()
