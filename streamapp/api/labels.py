"""Labels on their way to the topic that models learn from."""

from collections.abc import Awaitable, Callable

from streamapp.api.publisher import Headers, PublishError
from streamapp.api.scoring import key_of, not_taken, refusal
from streamapp.api.waiting import Refused
from streamapp.domain.dead_letter import Rejected
from streamapp.domain.decode import decode_label


class LabelTopic:
    """Where labels go to."""

    def __init__(
        self, publish: Callable[[str, bytes, bytes, Headers], Awaitable[None]], topic: str
    ) -> None:
        self._publish = publish
        self._topic = topic

    async def send(self, payload: bytes) -> None:
        """Return when the broker has it. Raises Problem: 422 where it is no label, 503."""
        key = key_of(payload)
        found = decode_label(key, payload)
        if isinstance(found, Rejected):
            raise refusal(Refused(found.reason, found.field, found.detail))
        assert key is not None, "a label names its user"
        try:
            await self._publish(self._topic, key, payload, ())
        except PublishError:
            raise not_taken("the broker takes no labels for now", "it again") from None
