"""The `streamapp` command: gathers the sub-commands and turns known errors into one line."""

import sys

import typer

from streamapp.cli import (
    api,
    broker,
    console,
    contract,
    demo,
    dlq,
    evaluate,
    generate,
    keys,
    labels,
    loops,
    replay,
    score,
    severity,
    sink,
    state,
    train,
    worker,
)
from streamapp.cli.errors import UsageError
from streamapp.cli.logs import configure_logs

app = typer.Typer(
    name="streamapp",
    help="Scores payment transactions for fraud while they flow through Kafka.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
app.callback()(configure_logs)
app.add_typer(broker.app, name="broker")
app.add_typer(sink.app, name="sink")
app.add_typer(dlq.app, name="dlq")
app.add_typer(state.app, name="state")
app.add_typer(keys.app, name="keys")
app.add_typer(labels.app, name="labels")
app.add_typer(severity.app, name="severity")
app.command("demo")(demo.demo)
app.command("contract")(contract.contract)
app.command("worker")(worker.worker)
app.command("compile")(loops.compile_loops)
app.command("api")(api.api)
app.command("console")(console.console)
app.command("replay")(replay.replay)
app.command("score")(score.score)
app.command("generate")(generate.generate)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)


def run() -> None:
    """Entry point: a mistake of the user's ends in one line that says how to mend it, code 2."""
    try:
        app()
    except UsageError as error:
        print(f"streamapp: {error}", file=sys.stderr)  # noqa: T201 - before logging exists
        sys.exit(2)
