"""`streamapp compile`: the loops, ahead of the first start."""

from pathlib import Path
from typing import Annotated

import typer

from streamapp.cli.errors import UsageError
from streamapp.cli.settings import load_settings


def compile_loops(
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
) -> None:
    """Compile the loops for this machine, so that a worker's first start takes seconds."""
    from streamapp.engine.warm_up import warm_up  # noqa: PLC0415 - start-up time
    from streamapp.scoring.artifact import ArtifactError, load  # noqa: PLC0415
    from streamapp.scoring.default_model import default_model_dir  # noqa: PLC0415

    settings = load_settings(config)
    try:
        warm_up(load(settings.worker.model_dir or default_model_dir()))
    except (ArtifactError, OSError) as error:
        raise UsageError(str(error)) from error
