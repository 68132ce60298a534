"""`streamapp keys`: who may use the HTTP API."""

from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from streamapp.cli.api import require_extra
from streamapp.cli.durations import duration_ms
from streamapp.cli.errors import UsageError
from streamapp.cli.settings import load_settings

if TYPE_CHECKING:
    from streamapp.api.keys import KeyFile

app = typer.Typer(
    help="Keys of the HTTP API: made, shown, renewed, taken back.", no_args_is_help=True
)
app.callback()(require_extra)

Config = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings.  [env: STREAMAPP_CONFIG_FILE]"),
]
Lifetime = Annotated[str, typer.Option(help="How long it opens, as in 90d or 12h.")]


@app.command("create")
def create(
    name: Annotated[str, typer.Argument(help="Whose key it is, for your own list.")],
    scope: Annotated[list[str], typer.Option(help="read, score or admin; give it again for more.")],
    expires: Lifetime = "90d",
    config: Config = None,
) -> None:
    """Make a key. The token is printed once and kept nowhere; its id and scopes go to stderr."""
    from streamapp.api.access import Scope  # noqa: PLC0415 - an extra of its own
    from streamapp.api.keys import KeyFileError, utc_now  # noqa: PLC0415

    unknown = sorted(set(scope) - set(Scope))
    if unknown:
        raise UsageError(f"--scope is {unknown[0]!r}: give {', '.join(Scope)}")
    scopes = frozenset(Scope(one) for one in scope)
    try:
        token, record = _file(config).create(name, scopes, _lifetime(expires), utc_now())
    except KeyFileError as error:
        raise UsageError(str(error)) from error
    may = ", ".join(sorted(scopes))
    typer.echo(f"key {record.id}, scopes {may}, until {record.expires:%F}", err=True)
    typer.echo(token)


@app.command("rotate")
def rotate(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As streamapp keys list shows it.")],
    overlap: Annotated[str, typer.Option(help="How long the old one still opens.")] = "1d",
    expires: Lifetime = "90d",
    config: Config = None,
) -> None:
    """Make a key like another one, which ends after the overlap."""
    from streamapp.api.keys import KeyFileError, utc_now  # noqa: PLC0415

    until = timedelta(milliseconds=duration_ms("--overlap", overlap))
    try:
        token, record = _file(config).rotate(key_id, until, _lifetime(expires), utc_now())
    except KeyFileError as error:
        raise UsageError(str(error)) from error
    typer.echo(f"key {record.id} takes the place of {key_id}", err=True)
    typer.echo(token)


@app.command("revoke")
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="As streamapp keys list shows it.")],
    config: Config = None,
) -> None:
    """Take a key back: it opens nothing from a second later on."""
    from streamapp.api.keys import KeyFileError, utc_now  # noqa: PLC0415

    try:
        _file(config).revoke(key_id, utc_now())
    except KeyFileError as error:
        raise UsageError(str(error)) from error
    typer.echo(f"key {key_id} revoked", err=True)


@app.command("list")
def list_keys(config: Config = None) -> None:
    """Show the keys there are; their secrets nobody has."""
    from streamapp.api.keys import KeyFileError, utc_now  # noqa: PLC0415

    try:
        records = _file(config).read().records
    except KeyFileError as error:
        raise UsageError(str(error)) from error
    table = Table("id", "name", "scopes", "expires", "opens")
    for one in records:
        opens = one.why_refused(utc_now()) or "yes"
        table.add_row(one.id, one.name, " ".join(sorted(one.scopes)), f"{one.expires:%F %R}", opens)
    Console().print(table)


def _file(config: Path | None) -> "KeyFile":
    from streamapp.api.keys import KeyFile  # noqa: PLC0415

    return KeyFile(load_settings(config).api.keys_file)


def _lifetime(words: str) -> timedelta:
    found = timedelta(milliseconds=duration_ms("--expires", words))
    if not timedelta() < found <= timedelta(days=3650):
        raise UsageError(f"--expires is {words!r}: give from 1h to 3650d")
    return found
