"""`streamapp worker`: score the source topic until told to stop."""

from pathlib import Path
from typing import Annotated

import typer

from streamapp.cli.errors import UsageError
from streamapp.cli.settings import load_settings
from streamapp.cli.tracing import tracing


def worker(
    config: Annotated[Path | None, typer.Option(help="TOML file with settings.")] = None,
) -> None:
    """Score transactions from Kafka and publish verdicts, until SIGTERM or Ctrl-C."""
    from streamapp.engine.guarantee import GuaranteeError  # noqa: PLC0415 - start-up time
    from streamapp.engine.worker import WorkerPlan, run  # noqa: PLC0415
    from streamapp.kafka.metadata import TopicError  # noqa: PLC0415
    from streamapp.scoring.artifact import ArtifactError, load  # noqa: PLC0415
    from streamapp.scoring.default_model import default_model_dir  # noqa: PLC0415

    settings = load_settings(config)
    try:
        model = load(settings.worker.model_dir or default_model_dir())
        with tracing(settings, "streamapp-worker") as tracer:
            plan = WorkerPlan(settings.kafka, settings.topics, settings.worker, model, tracer)
            code = run(plan)
    except (ArtifactError, GuaranteeError, TopicError, OSError) as error:
        raise UsageError(str(error)) from error
    raise typer.Exit(code)
