"""The `streamapp` command: gathers the sub-commands and turns known errors into one line."""

import sys
from collections.abc import Iterator, Mapping, MutableMapping
from importlib import import_module
from typing import Any, Final, cast

import typer
from typer.core import TyperGroup

from streamapp.cli.errors import UsageError
from streamapp.cli.logs import configure_logs

#: Sub-commands in the order of the help, with the module and what of it is the command,
#: written as an entry point.
_COMMANDS: Final = {
    "broker": "streamapp.cli.broker:app",
    "sink": "streamapp.cli.sink:app",
    "dlq": "streamapp.cli.dlq:app",
    "state": "streamapp.cli.state:app",
    "keys": "streamapp.cli.keys:app",
    "labels": "streamapp.cli.labels:app",
    "severity": "streamapp.cli.severity:app",
    "demo": "streamapp.cli.demo:demo",
    "contract": "streamapp.cli.contract:contract",
    "worker": "streamapp.cli.worker:worker",
    "compile": "streamapp.cli.loops:compile_loops",
    "api": "streamapp.cli.api:api",
    "console": "streamapp.cli.console:console",
    "replay": "streamapp.cli.replay:replay",
    "score": "streamapp.cli.score:score",
    "generate": "streamapp.cli.generate:generate",
    "train": "streamapp.cli.train:train",
    "evaluate": "streamapp.cli.evaluate:evaluate",
}


class _Loading(Mapping[str, Any]):
    """Commands by name, each imported when it is asked for."""

    def __getitem__(self, name: str) -> Any:
        module, attribute = _COMMANDS[name].split(":")
        found = getattr(import_module(module), attribute)
        around = typer.Typer()
        if isinstance(found, typer.Typer):
            around.add_typer(found, name=name)
        else:
            around.command(name)(found)
        return typer.main.get_group(around).commands[name]

    def __iter__(self) -> Iterator[str]:
        return iter(_COMMANDS)

    def __len__(self) -> int:
        return len(_COMMANDS)


class Commands(TyperGroup):
    """Loads the command it runs and no other, with libraries that take a second to import."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.commands = cast(MutableMapping[str, Any], _Loading())


app = typer.Typer(
    cls=Commands,
    name="streamapp",
    help="Scores payment transactions for fraud while they flow through Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.callback()(configure_logs)


def run() -> None:
    """Entry point: a mistake of the user's ends in one line that says how to mend it, code 2."""
    try:
        app()
    except UsageError as error:
        print(f"streamapp: {error}", file=sys.stderr)  # noqa: T201 - before logging exists
        sys.exit(2)
