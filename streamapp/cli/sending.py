"""How a command that sends recorded messages shows its progress, and what became of them."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from streamapp.domain.transaction import rfc3339
from streamapp.replay.producer import Sent


@contextmanager
def sending_progress(rows: int | None, task_name: str) -> Iterator[Callable[[Sent], None]]:
    """A bar on standard error: sent, acknowledged, rate, event time reached."""
    columns = (
        SpinnerColumn(),
        TextColumn("{task.completed:,.0f} sent"),
        BarColumn(bar_width=10),
        TextColumn("{task.fields[state]}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task(task_name, total=rows, state="")

        def show(sent: Sent) -> None:
            state = f"{sent.acknowledged:,} acknowledged, {sent.per_s:,.0f}/s"
            reached = (event_time(sent.last_event_ms) or "no event time")[: len("2026-03-01T12:00")]
            progress.update(task, completed=sent.sent, state=f"{state}, at {reached}")

        yield show


def sent_sentence(sent: Sent) -> str:
    """What became of the messages, in one line."""
    parts = [f"{sent.sent:,} sent to {sent.topic}", f"{sent.acknowledged:,} acknowledged"]
    if sent.failed:
        named = ", ".join(f"{name} {count:,}" for name, count in sorted(sent.errors.items()))
        parts.append(f"{sent.failed:,} failed ({named})")
    if sent.waiting:
        parts.append(f"{sent.waiting:,} not acknowledged in time")
    parts.append(f"{sent.wall_s:.1f} s, {sent.per_s:,.0f}/s")
    if sent.last_event_ms is not None:
        parts.append(f"events up to {event_time(sent.last_event_ms)}")
    return ("interrupted: " if sent.interrupted else "") + "; ".join(parts)


def sent_exit_code(sent: Sent) -> int:
    """0: all acknowledged; 1: deliveries failed; 130: interrupted."""
    return 130 if sent.interrupted else 0 if sent.complete else 1


def event_time(time_ms: int | None) -> str | None:
    """As RFC 3339."""
    return None if time_ms is None else rfc3339(time_ms)
