"""When so much is refused that the producer must be broken: stop rather than pour a topic away."""

from dataclasses import dataclass
from typing import Final


class DeadLetterLimitError(Exception):
    """A partition refuses too much; the message says what to look at and how to go on."""

    reason: Final = "dead_letters"


@dataclass(slots=True)
class DeadLetterLimit:
    """Counts the records of one partition: a bound on refusals in a row and on their share.

    The share is looked at once per `window` records, so that a few early refusals don't count as
    a share of nothing.
    """

    run_max: int
    share_max: float
    window: int
    run: int = 0
    refused: int = 0
    seen: int = 0

    def count(self, rows: int, refused_rows: list[int]) -> None:
        """Add a batch of `rows` records, `refused_rows` of it refused, in order.

        Raises DeadLetterLimitError.
        """
        last = -1
        for row in refused_rows:
            self.run = self.run + 1 if row == last + 1 else 1
            last = row
            if self.run > self.run_max:
                raise DeadLetterLimitError(
                    f"more than {self.run_max} records in a row were refused; mend their producer "
                    f"or raise STREAMAPP_WORKER__DEAD_LETTER_RUN_MAX, then start the worker again"
                )
        if last != rows - 1:
            self.run = 0
        self._count_share(rows, len(refused_rows))

    def _count_share(self, rows: int, refused: int) -> None:
        self.seen += rows
        self.refused += refused
        if self.seen < self.window:
            return
        if self.refused > self.share_max * self.seen:
            raise DeadLetterLimitError(
                f"{self.refused} of the last {self.seen} records were refused; mend their producer "
                f"or raise STREAMAPP_WORKER__DEAD_LETTER_SHARE_MAX, then start the worker again"
            )
        self.seen = self.refused = 0
