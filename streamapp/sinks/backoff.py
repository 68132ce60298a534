"""How long to wait before the next attempt."""

import random
from dataclasses import dataclass


@dataclass
class Backoff:
    """Doubles from `first_s` up to `max_s`; each wait is drawn from its upper half (jitter)."""

    first_s: float
    max_s: float
    rng: random.Random
    attempts: int = 0

    def next_wait_s(self, asked_s: float | None) -> float:
        """The wait before the next attempt, at least what the other side asked for."""
        # The exponent is capped: 2.0 ** attempts would overflow in a very long outage.
        ceiling = min(self.max_s, self.first_s * 2.0 ** min(self.attempts, 30))
        self.attempts += 1
        return max(asked_s or 0.0, ceiling * self.rng.uniform(0.5, 1.0))
