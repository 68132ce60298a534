"""Local state is opened sound or set aside: every kind of damage, on files RocksDB has written."""

import os
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from rocksdict import Options, Rdict

from streamapp.engine import local_state, metrics
from streamapp.engine.local_state import condemn, open_or_begin_anew, open_sound
from streamapp.engine.store import (
    PARTITION_STATE_KEY,
    DamagedStoreError,
    Fault,
    Origin,
    StateStore,
    StoreBusyError,
    StoreError,
)
from streamapp.scoring import partition_state

CHANGELOG = "streamapp.state"
STATE = partition_state.moved(b"\1" + bytes(91), 7)
LAST_OFFSET = 4_999

#: Enough for several SST files at the store's own buffer of 16 MB.
ROUNDS = 5
ROUND_USERS = 4_000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A partition's directory with several SST files, closed."""
    directory = tmp_path_factory.mktemp("state") / "p00003"
    store = StateStore(directory)
    store.follow(Origin(CHANGELOG))
    draw = random.Random(1)
    for _ in range(ROUNDS):
        users = [(b"u%05d" % n, draw.randbytes(1024)) for n in range(ROUND_USERS)]
        store.write([*users, (PARTITION_STATE_KEY, STATE)], LAST_OFFSET)
    store.close()
    assert len(list(directory.glob("*.sst"))) > 1
    return directory


@pytest.fixture
def directory(written: Path, tmp_path: Path) -> Path:
    """A copy of it to damage."""
    return Path(shutil.copytree(written, tmp_path / written.name))


def one(directory: Path, pattern: str) -> Path:
    """The largest file of a kind."""
    return max(directory.glob(pattern), key=lambda file: file.stat().st_size)


def flip(file: Path, share: float) -> None:
    """Turn a bit at this share of the file."""
    data = bytearray(file.read_bytes())
    data[int(len(data) * share)] ^= 0x10
    file.write_bytes(data)


def cut(file: Path, share: float) -> None:
    """Keep this share of the file."""
    os.truncate(file, int(file.stat().st_size * share))


def put_raw(directory: Path, key: bytes, value: bytes) -> None:
    """Write past the store's own checks."""
    db = Rdict(str(directory), options=Options(raw_mode=True))
    db[key] = value
    db.close()


def newer_state() -> bytes:
    """A whole partition state of the layout after ours."""
    layout = bytes([partition_state.CUTOFFS_LAYOUT + 1])
    return partition_state.moved(layout + bytes(91), 7)


DAMAGES: dict[str, tuple[Fault, Callable[[Path], object]]] = {
    "sst_footer_flipped": ("damaged", lambda d: flip(one(d, "*.sst"), 0.99999)),
    "sst_truncated": ("damaged", lambda d: cut(one(d, "*.sst"), 0.5)),
    "sst_missing": ("damaged", lambda d: one(d, "*.sst").unlink()),
    "manifest_flipped": ("damaged", lambda d: flip(one(d, "MANIFEST-*"), 0.5)),
    "manifest_empty": ("damaged", lambda d: cut(one(d, "MANIFEST-*"), 0.0)),
    "manifest_missing": ("damaged", lambda d: one(d, "MANIFEST-*").unlink()),
    "current_missing": ("damaged", lambda d: (d / "CURRENT").unlink()),
    "current_empty": ("damaged", lambda d: (d / "CURRENT").write_bytes(b"")),
    "current_junk": ("damaged", lambda d: (d / "CURRENT").write_bytes(b"no manifest\n")),
    "condemned": ("damaged", lambda d: condemn(d, "profile checksum differs")),
    "position_no_number": ("damaged", lambda d: put_raw(d, b"m:changelog_offset", b"12")),
    "origin_junk": ("damaged", lambda d: put_raw(d, b"m:origin", b"{")),
    "state_flipped": ("damaged", lambda d: put_raw(d, b"p", STATE[:50] + b"\xff" + STATE[51:])),
    "state_newer": ("layout", lambda d: put_raw(d, b"p", newer_state())),
    "store_newer": ("layout", lambda d: put_raw(d, b"m:format", b"streamapp-store-2")),
    "store_older": ("layout", lambda d: put_raw(d, b"m:format", b"streamapp-store-0")),
    "other_file": ("foreign", lambda d: (d / "notes.txt").write_text("mine")),
    "other_changelog": ("foreign", lambda d: put_raw(d, b"m:origin", b'{"changelog":"eu.state"}')),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_not_sound_is_set_aside_and_begun_anew(directory: Path, damage: str) -> None:
    """Nothing of it is served: the new store is empty and follows the changelog from its start."""
    fault, inflict = DAMAGES[damage]
    inflict(directory)
    counted = metrics.STATE_REBUILDS.labels(fault)._value.get()
    store = open_or_begin_anew(directory, CHANGELOG)
    assert (-1, None, []) == (store.changelog_offset, store.origin, list(store.items()))
    store.close()
    kind = "foreign" if fault == "foreign" else "damaged"
    aside = directory.with_name(f"p00003.{kind}-1")
    assert any(aside.iterdir())
    assert counted + 1 == metrics.STATE_REBUILDS.labels(fault)._value.get()
    again = open_or_begin_anew(directory, CHANGELOG)
    again.close()
    assert {"p00003", aside.name} == {place.name for place in directory.parent.iterdir()}


def test_a_file_in_the_place_of_the_directory_is_kept(tmp_path: Path) -> None:
    """It is not ours."""
    (tmp_path / "p00003").write_text("mine")
    open_or_begin_anew(tmp_path / "p00003", CHANGELOG).close()
    assert "mine" == (tmp_path / "p00003.foreign-1").read_text()


def write_and_die(directory: Path, writes: int, value_bytes: int) -> None:
    """40 users at each offset, the offset in their values; then end as by kill -9."""
    code = f"""
import os, sys
from pathlib import Path
from streamapp.engine.store import StateStore
store = StateStore(Path(sys.argv[1]))
for n in range({writes}):
    users = [(n * 7 + user) % 4000 for user in range(40)]
    store.write([(b"u%d" % user, b"%08d" % n + os.urandom({value_bytes - 8})) for user in users], n)
os._exit(9)
"""
    subprocess.run([sys.executable, "-c", code, str(directory)], check=False, timeout=60)


def after_writes(directory: Path) -> int:
    """The offset of the store, whose values are found to be those of all writes up to it."""
    store = open_or_begin_anew(directory, CHANGELOG)
    offset = store.changelog_offset
    expected = {}
    for n in range(offset + 1):
        expected.update({b"u%d" % ((n * 7 + user) % 4000): b"%08d" % n for user in range(40)})
    assert expected == {key: value[:8] for key, value in store.items()}
    store.close()
    return offset


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_flipped_block_is_found_when_it_is_read(directory: Path, share: float) -> None:
    """RocksDB opens, but its block's checksum differs: no value comes out of it."""
    for file in directory.glob("*.sst"):
        flip(file, share)
    store = open_sound(directory, CHANGELOG)
    with pytest.raises(DamagedStoreError, match="checksum mismatch"):
        store.get_many([b"u%05d" % number for number in range(ROUND_USERS)])
    with pytest.raises(DamagedStoreError, match="checksum mismatch"):
        list(store.items())
    store.close()


@pytest.mark.parametrize(
    "damage", [lambda f: flip(f, 0.5), lambda f: cut(f, 0.5), lambda f: f.unlink()]
)
def test_a_damaged_write_ahead_log_gives_an_earlier_state(
    tmp_path: Path, damage: Callable[[Path], object]
) -> None:
    """Writes are whole and in order, position among them: the changelog has the rest."""
    directory = tmp_path / "p00000"
    write_and_die(directory, writes=300, value_bytes=8)
    damage(one(directory, "*.log"))
    assert after_writes(directory) < 299


def test_a_truncated_manifest_leaves_no_hole(tmp_path: Path) -> None:
    """Without its last lines RocksDB would forget a table that newer writes in the log follow."""
    written = tmp_path / "p00000"
    write_and_die(written, writes=2_300, value_bytes=1_024)
    size = one(written, "MANIFEST-*").stat().st_size
    offsets = []
    for cut_off in (1, 12, 40, 60, 80, 100, 130, size // 2, size):
        copy = tmp_path / f"cut-{cut_off}" / "p00000"
        shutil.copytree(written, copy)
        os.truncate(one(copy, "MANIFEST-*"), size - cut_off)
        offsets.append(after_writes(copy))
        shutil.rmtree(copy.parent)
    assert -1 in offsets, "one of the cuts left a hole, and all was begun anew"
    assert 2_299 == after_writes(written), "as it was left it is whole"


def test_a_write_that_begins_at_a_blocks_end_is_no_hole(tmp_path: Path) -> None:
    """Its first bytes may be cut in two by the end of a block of the log."""
    store = StateStore(tmp_path / "p00000")
    draw = random.Random(1)
    for offset in range(20_000):
        store.write([(b"ua", draw.randbytes(draw.randrange(200)))], offset)
    as_killed = tmp_path / "killed" / "p00000"
    shutil.copytree(tmp_path / "p00000", as_killed)
    store.close()
    killed = open_sound(as_killed, CHANGELOG)
    assert 19_999 == killed.changelog_offset
    killed.close()


def test_an_empty_directory_is_an_empty_store(tmp_path: Path) -> None:
    """As a new volume is mounted; nothing is set aside."""
    (tmp_path / "p00003").mkdir()
    store = open_or_begin_anew(tmp_path / "p00003", CHANGELOG)
    assert -1 == store.changelog_offset
    store.close()
    assert ["p00003"] == [place.name for place in tmp_path.iterdir()]


def test_a_lock_file_of_nobody_is_no_error(directory: Path) -> None:
    """It is left behind by a worker that was killed."""
    (directory / "LOCK").write_text("4711")
    store = open_sound(directory, CHANGELOG)
    assert LAST_OFFSET == store.changelog_offset
    store.close()


def test_a_lock_held_by_a_living_process_is_an_error(directory: Path) -> None:
    """Also where the store is damaged or condemned: it is not moved away under its owner."""
    code = "import sys; from pathlib import Path; from streamapp.engine.store import StateStore; "
    code += "store = StateStore(Path(sys.argv[1])); print('open', flush=True); sys.stdin.read()"
    command = [sys.executable, "-c", code, str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert b"open" in holder.stdout.readline()
        condemn(directory, "found damaged")
        with pytest.raises(StoreBusyError, match="in use by another worker"):
            open_or_begin_anew(directory, CHANGELOG)
        holder.kill()
    open_or_begin_anew(directory, CHANGELOG).close()
    assert directory.with_name("p00003.damaged-1").is_dir()


def test_one_damaged_copy_is_kept_and_what_is_not_ours_always(tmp_path: Path) -> None:
    """The newest, for whoever asks why; strangers' files are never deleted."""
    directory = tmp_path / "p00003"
    for _ in range(3):
        open_or_begin_anew(directory, CHANGELOG).close()
        condemn(directory, "again")
    for number in range(3):
        open_or_begin_anew(directory, CHANGELOG).close()
        (directory / "notes.txt").write_text(str(number))
    open_or_begin_anew(directory, CHANGELOG).close()
    names = {place.name for place in tmp_path.iterdir()}
    foreign = {f"p00003.foreign-{number}" for number in (1, 2, 3)}
    assert foreign | {"p00003", "p00003.damaged-3"} == names
    assert "0" == (tmp_path / "p00003.foreign-1" / "notes.txt").read_text()


def test_copies_set_aside_are_no_partitions(tmp_path: Path) -> None:
    """Nor is anything else that lies there."""
    for name in ("p00003", "p00011", "p00003.damaged-1", "p00003.foreign-2", "tables", "p1"):
        (tmp_path / name).mkdir()
    assert [3, 11] == list(local_state.local_partitions(tmp_path))
    assert {} == local_state.local_partitions(tmp_path / "missing")


def test_a_disk_that_fails_is_not_damage(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No room, no rights: the state may be sound, and moving it would not help."""

    def fail(*_: object, **_options: object) -> None:
        raise Exception("IO error: No space left on device: While open a file")

    monkeypatch.setattr("streamapp.engine.store.Rdict", fail)
    with pytest.raises(StoreError, match=r"No space left on device.* mend the disk") as refused:
        open_or_begin_anew(directory, CHANGELOG)
    assert not isinstance(refused.value, DamagedStoreError)
    assert directory.is_dir()
