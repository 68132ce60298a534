"""The tracer of a command that runs until told to stop."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from streamapp.cli.errors import UsageError
from streamapp.cli.settings import Settings
from streamapp.tracing.start import TracingError, started_tracer

if TYPE_CHECKING:
    from streamapp.tracing.tracer import Tracer


@contextmanager
def tracing(settings: Settings, service: str) -> "Iterator[Tracer | None]":
    """The tracer while the block runs, None where tracing is off. Raises UsageError."""
    try:
        tracer = started_tracer(settings.tracing, service)
    except TracingError as error:
        raise UsageError(str(error)) from error
    try:
        yield tracer
    finally:
        if tracer is not None:
            tracer.close()
