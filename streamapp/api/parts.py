"""What the routes work with, made once for a process."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, cast

from fastapi import Request

from streamapp.api.audit import AuditLog
from streamapp.api.erasing import Erasing
from streamapp.api.guard import Guard
from streamapp.api.keys import KeyFile
from streamapp.api.labels import LabelTopic
from streamapp.api.live import Live
from streamapp.api.owners import Owners
from streamapp.api.pressure import Pressure
from streamapp.api.scoring import Scoring
from streamapp.api.settings import ApiSettings
from streamapp.scoring.policy import Policy

if TYPE_CHECKING:
    from streamapp.tracing.tracer import Tracer


@dataclass(frozen=True, slots=True)
class Parts:
    """The API's parts. `why_not_ready` is None where it can answer. `policy`: the workers'."""

    settings: ApiSettings
    guard: Guard
    key_file: KeyFile
    audit: AuditLog
    scoring: Scoring
    labels: LabelTopic
    live: Live
    owners: Owners
    erasing: Erasing
    policy: Policy
    pressure: Pressure
    why_not_ready: Callable[[], str | None]
    now: Callable[[], datetime]
    tracer: "Tracer | None" = None


def parts_of(request: Request) -> Parts:
    """The parts of the process that answers this request."""
    return cast(Parts, request.app.state.parts)
