"""A coroutine's first step without a task: what does not wait is done at once.

For a task the event loop needs a round or two. Faust makes four of them to hand one message over,
and meanwhile the loop scores what was handed over before.
"""

from collections.abc import Coroutine, Generator
from typing import Any


class Begun:
    """A coroutine that has run up to where it first waits; awaited, it goes on.

    result: of one that has ended. Raises what the coroutine raises.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self.has_ended = False
        self.result: Any = None
        try:
            self._waits_for = coroutine.send(None)
        except StopIteration as end:
            self.has_ended, self.result = True, end.value

    def __await__(self) -> Generator[Any, Any, Any]:
        if self.has_ended:
            return self.result
        waits_for = self._waits_for
        try:
            while True:
                try:
                    value = yield waits_for
                except BaseException as error:
                    waits_for = self._coroutine.throw(error)
                else:
                    waits_for = self._coroutine.send(value)
        except StopIteration as end:
            return end.value
