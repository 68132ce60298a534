"""`streamapp api`: the HTTP API until told to stop."""

import importlib.util
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import structlog
import typer

from streamapp.cli.errors import UsageError
from streamapp.cli.settings import Settings, load_settings
from streamapp.cli.tracing import tracing

if TYPE_CHECKING:
    from streamapp.api.keys import KeyRecord

log = structlog.get_logger()


def api(
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
    openapi: Annotated[
        bool, typer.Option("--openapi", help="Print the OpenAPI document and end.")
    ] = False,
) -> None:
    """Serve scores, verdicts and figures over HTTP, until SIGTERM or Ctrl-C."""
    require_extra()
    if openapi:
        typer.echo(document())
        return
    settings = load_settings(config)
    log.info("settings_loaded", settings=settings.masked()["api"])
    serve_api(settings)


def serve_api(
    settings: Settings,
    own_keys: "tuple[KeyRecord, ...]" = (),
    tell: Callable[[int], None] = lambda _port: None,
) -> None:
    """Serve until told to stop; `tell` is given the port. Raises UsageError."""
    from streamapp.api.keys import KeyFileError  # noqa: PLC0415 - an extra of its own
    from streamapp.api.server import ApiPlan, serve  # noqa: PLC0415
    from streamapp.kafka.metadata import TopicError  # noqa: PLC0415
    from streamapp.scoring.artifact import ArtifactError  # noqa: PLC0415
    from streamapp.scoring.default_model import default_model_dir  # noqa: PLC0415

    with listening(settings) as listener, tracing(settings, "streamapp-api") as tracer:
        plan = ApiPlan(
            kafka=settings.kafka,
            topics=settings.topics,
            settings=settings.api,
            postgres=settings.postgres,
            model_dir=settings.worker.model_dir or default_model_dir(),
            group=settings.worker.group,
            secret=settings.worker.api_secret,
            own_keys=own_keys,
            tracer=tracer,
        )
        tell(listener.getsockname()[1])
        try:
            serve(plan, listener)
        except (ArtifactError, KeyFileError, TopicError) as error:
            raise UsageError(str(error)) from error


def document() -> str:
    """The OpenAPI document as it is published."""
    from streamapp.api.app import bare_app  # noqa: PLC0415
    from streamapp.api.openapi import document as made  # noqa: PLC0415

    return json.dumps(made(bare_app()), indent=2, ensure_ascii=False)


def listening(settings: Settings) -> socket.socket:
    """A socket that listens where the settings say. Raises UsageError."""
    host, port = settings.api.host, settings.api.port
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        return socket.create_server((host, port), family=family, backlog=1_024)
    except OSError as error:
        raise UsageError(
            f"STREAMAPP_API__PORT: cannot serve on {host}:{port}: {error.strerror}"
        ) from error


def require_extra() -> None:
    """Raise UsageError where the API's libraries are not installed."""
    needed = ("fastapi", "uvicorn", "jwt", "psycopg_pool")
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError("the HTTP API is an extra: pip install 'streamapp[api]'")
