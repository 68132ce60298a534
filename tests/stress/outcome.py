"""What a row of the campaign has measured."""

from dataclasses import dataclass, field

Figure = int | float | str


@dataclass(frozen=True, slots=True)
class Outcome:
    """A row that kept its promise: how often it was put to the test, and figures by name."""

    n: int
    measured: dict[str, Figure] = field(default_factory=dict)
