"""`streamapp contract`: the published contract as files."""

from pathlib import Path
from typing import Annotated

import typer

from streamapp.cli.errors import UsageError
from streamapp.contract import documents, render
from streamapp.kafka.settings import TopicSettings


def contract(
    write: Annotated[
        Path | None, typer.Option(help="Directory to write the documents into.", metavar="DIR")
    ] = None,
) -> None:
    """Show the AsyncAPI document, or write it and the JSON Schemas into a directory."""
    published = documents(TopicSettings())
    if write is None:
        typer.echo(render(published["asyncapi.json"]), nl=False)
        return
    try:
        write.mkdir(parents=True, exist_ok=True)
        for name, document in published.items():
            (write / name).write_text(render(document), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"can't write the contract to {write}: {error.strerror}") from error
