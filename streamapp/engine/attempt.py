"""Which attempt at a partition's records has written what stands in its topics.

An attempt is all that one owner writes. Two attempts at the same records differ where anything else
has changed between them: the model, the policy, the version of the program. The fence leaves only
the newest owner writing, so what stands behind the ends its topics had then is of no earlier one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final

import msgspec

#: Header of a partition's state in the changelog: the attempt that led to it.
ATTEMPT_HEADER: Final = "attempt"

_decode = msgspec.json.Decoder(dict[str, int]).decode


@dataclass(frozen=True, slots=True)
class Attempt:
    """begins: of each topic it writes to, where that ended when the attempt began.

    Empty of states that were written by hand, at-least-once, or before attempts were named: of
    those nothing can be told apart.
    """

    begins: Mapping[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, headers: Iterable[tuple[str, bytes]]) -> "Attempt":
        """The attempt that a state's headers name."""
        value = next((value for name, value in headers if name == ATTEMPT_HEADER), b"{}")
        try:
            return cls(_decode(value))
        except msgspec.DecodeError:  # another program's
            return cls()

    def headers(self) -> list[tuple[str, bytes]]:
        """As a state names it."""
        return [(ATTEMPT_HEADER, msgspec.json.encode(self.begins))] if self.begins else []

    def begin(self, topic: str) -> int:
        """The offset in a topic before which nothing is of this attempt; -1 where none is known."""
        return self.begins.get(topic, -1)
