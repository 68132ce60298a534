"""`streamapp console`: the live console with a key of its own, for the one who starts it."""

from datetime import timedelta
from pathlib import Path
from typing import Annotated

import typer

from streamapp.cli.api import require_extra, serve_api
from streamapp.cli.settings import load_settings

#: A working day and a night; who needs it longer starts it again.
_KEY_LIFETIME = timedelta(hours=24)


def console(
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    port: Annotated[
        int | None,
        typer.Option(min=0, max=65_535, help="Listen here instead of STREAMAPP_API__PORT."),
    ] = None,
) -> None:
    """Serve the live console and print its address, until SIGTERM or Ctrl-C.

    The address holds a key that reads, lives in this process alone and ends with it. Whoever has a
    key of `streamapp api` opens its /console instead.
    """
    require_extra()
    from streamapp.api.access import Scope  # noqa: PLC0415 - an extra of its own
    from streamapp.api.keys import new_key, utc_now  # noqa: PLC0415

    settings = load_settings(config)
    if port is not None:
        served = settings.api.model_copy(update={"port": port})
        settings = settings.model_copy(update={"api": served})
    token, record = new_key("console", frozenset({Scope.READ}), _KEY_LIFETIME, utc_now())

    def tell(listens_at: int) -> None:
        host = settings.api.host if settings.api.host != "0.0.0.0" else "127.0.0.1"  # noqa: S104
        typer.echo(f"http://{host}:{listens_at}/console#key={token}")

    serve_api(settings, (record,), tell)
