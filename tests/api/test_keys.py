"""API keys: random, hashed, renewed, taken back; the file is never half written."""

import json
import stat
from datetime import timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from streamapp.api.access import Scope
from streamapp.api.keys import KeyFile, KeyFileError, KeyWatch
from streamapp.cli.main import app
from tests.api.parts import NOW, Api, Clock, actions

DAY = timedelta(days=1)


@pytest.fixture
def file(tmp_path: Path) -> KeyFile:
    """No keys yet."""
    return KeyFile(tmp_path / "keys" / "keys.json")


def test_only_the_hash_is_kept(file: KeyFile, tmp_path: Path) -> None:
    """256 random bits, of which the file does not hold one; others can't read the file."""
    token, record = file.create("checkout", frozenset({Scope.SCORE}), DAY, NOW)
    other, _ = file.create("checkout", frozenset({Scope.SCORE}), DAY, NOW)
    _, key_id, secret = token.split("_", 2)
    path = tmp_path / "keys" / "keys.json"
    assert (record.id, 43) == (key_id, len(secret))
    assert secret != other.split("_", 2)[2]
    assert secret not in path.read_text()
    assert 0o600 == stat.S_IMODE(path.stat().st_mode)


def test_rotation_overlaps(file: KeyFile) -> None:
    """Old and new open together for a while, then the new one alone."""
    old, record = file.create("checkout", frozenset({Scope.SCORE}), 30 * DAY, NOW)
    new, _ = file.rotate(record.id, DAY, 30 * DAY, NOW)
    later = NOW + 2 * DAY
    opens = [[bool(file.read().caller(key, at)) for key in (old, new)] for at in (NOW, later)]
    assert [[True, True], [False, True]] == opens
    assert frozenset({Scope.SCORE}) == file.read().caller(new, later).scopes  # type: ignore[union-attr]
    with pytest.raises(KeyFileError, match="expired: create a new one"):
        file.rotate(record.id, DAY, DAY, later)


def test_a_damaged_file_opens_nothing(file: KeyFile, tmp_path: Path) -> None:
    """Nobody gets in by damage; the process says why, and takes a mended file again."""
    token, _ = file.create("checkout", frozenset({Scope.READ}), DAY, NOW)
    path, clock = tmp_path / "keys" / "keys.json", Clock()
    content = path.read_bytes()
    watch = KeyWatch(file, clock)
    assert watch.ring().caller(token, NOW)
    path.write_bytes(content[:-5])
    clock.now_s += 1
    assert watch.ring().caller(token, NOW) is None
    assert "is damaged" in (watch.failure or "")
    path.write_bytes(content)
    clock.now_s += 1
    assert watch.ring().caller(token, NOW)
    assert watch.failure is None


def test_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """create prints the token alone on stdout, so that a script can take it; list shows none."""
    monkeypatch.setenv("STREAMAPP_API__KEYS_FILE", str(tmp_path / "keys.json"))
    run = CliRunner().invoke
    made = run(app, ["keys", "create", "checkout", "--scope", "score", "--scope", "read"])
    [token] = made.stdout.split()
    key_id = token.split("_")[1]
    assert KeyFile(tmp_path / "keys.json").read().records[0].scopes == {Scope.SCORE, Scope.READ}
    renewed = run(app, ["keys", "rotate", key_id, "--overlap", "1h"])
    assert 0 == run(app, ["keys", "revoke", key_id]).exit_code
    listing = run(app, ["keys", "list"]).stdout
    assert "revoked" in listing
    assert token.split("_", 2)[2] not in listing
    assert renewed.stdout.split()[0].split("_")[1] in listing


def test_admin_sees_and_revokes(api: Api) -> None:
    """Over HTTP, each call on the audit topic before it is done."""
    admin, victim = api.key(Scope.ADMIN), api.key(Scope.READ)
    ids = [key.split("_")[1] for key in (admin, victim)]
    listed = api.ask("GET", "/v1/keys", admin).json()["keys"]
    assert [*ids] == [one["id"] for one in listed]
    assert all("digest" not in one for one in listed)
    assert 204 == api.ask("POST", f"/v1/keys/{ids[1]}/revoke", admin).status_code
    api.clock.now_s += 1
    assert 401 == api.ask("GET", "/metrics", victim).status_code
    caller = f"key:{ids[0]}"
    expected = [(caller, "keys_listed", None), (caller, "key_revoked", ids[1])]
    assert expected == actions(api.publisher.records)
    assert 404 == api.ask("POST", f"/v1/keys/{'0' * 16}/revoke", admin).status_code


def test_what_can_not_be_audited_is_not_done(api: Api) -> None:
    """The broker is away: 503, and the key goes on."""
    admin, victim = api.key(Scope.ADMIN), api.key(Scope.READ)
    api.publisher.is_away = True
    victim_id = victim.split("_")[1]
    assert 503 == api.ask("POST", f"/v1/keys/{victim_id}/revoke", admin).status_code
    api.clock.now_s += 1
    assert 200 == api.ask("GET", "/metrics", victim).status_code


def test_the_file_is_json_people_can_read(file: KeyFile, tmp_path: Path) -> None:
    """For backups and reviews."""
    file.create("checkout", frozenset({Scope.READ}), DAY, NOW)
    [found] = json.loads((tmp_path / "keys" / "keys.json").read_text())
    assert {"id", "name", "digest", "scopes", "created", "expires", "revoked"} == set(found)
