"""Whether the process can keep up: by how late its event loop gets to what is due."""

import asyncio
from collections.abc import Callable
from typing import Final

_PROBE_S: Final = 0.02
#: Where fewer wait, refusing them would help nobody: the process is short of CPU, not of places.
UNDER_WAY_MIN: Final = 32


class Pressure:
    """Looks every 20 ms. Used from one event loop."""

    def __init__(self, late_max_s: float, clock_s: Callable[[], float]) -> None:
        self._late_max_s = late_max_s
        self._clock_s = clock_s
        self._late_in_a_row = 0
        #: Requests that have come and are not answered.
        self.under_way: Callable[[], int] = lambda: 0

    @property
    def is_too_high(self) -> bool:
        """Whether requests queue, and two looks in a row were too late: one may be for once."""
        return self._late_in_a_row > 1 and self.under_way() >= UNDER_WAY_MIN

    async def watch(self) -> None:
        """Look until cancelled."""
        while True:
            due_s = self._clock_s() + _PROBE_S
            await asyncio.sleep(_PROBE_S)
            self.note(self._clock_s() - due_s)

    def note(self, late_s: float) -> None:
        """One look, this late."""
        self._late_in_a_row = self._late_in_a_row + 1 if late_s > self._late_max_s else 0
