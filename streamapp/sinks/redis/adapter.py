"""Verdicts into Redis: the newest of each user in the batch, pipelined through one script."""

from collections.abc import Iterable, Sequence
from itertools import islice
from typing import Any

import redis
from redis import exceptions
from redis.backoff import NoBackoff
from redis.retry import Retry

from streamapp.sinks.immediate import Immediate
from streamapp.sinks.protocol import Fatal, Retryable, StoredVerdict
from streamapp.sinks.redis.entry import KEEP_NEWEST, place, script_arguments
from streamapp.sinks.redis.settings import RedisSettings

#: Trouble that passes: away, still loading its data, failing over, or out of memory.
_PASSING = (
    exceptions.ConnectionError,
    exceptions.TimeoutError,
    exceptions.BusyLoadingError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    exceptions.ClusterDownError,
    exceptions.OutOfMemoryError,
    # The server restarted between loading the script and calling it.
    exceptions.NoScriptError,
)
_LASTING = (exceptions.AuthenticationError, exceptions.NoPermissionError)


class RedisSink(Immediate):
    """Keeps the newest verdict of each user, with expiry."""

    name = "redis"

    def __init__(self, settings: RedisSettings) -> None:
        self._settings = settings
        self._client: redis.Redis | None = None

    def open(self) -> None:
        """Connect and see that the server answers."""
        try:
            self._connected().ping()
        except exceptions.RedisError as error:
            raise _divided(error) from error

    def write(self, verdicts: Sequence[StoredVerdict]) -> int:
        """Store the newest verdict per user; return how many users changed.

        Each user's change is atomic; a batch that fails half way is repeated without harm.
        """
        newest = iter(_newest_per_user(verdicts))
        changed = 0
        try:
            while chunk := list(islice(newest, self._settings.pipeline_max)):
                changed += self._store(chunk)
        except exceptions.RedisError as error:
            raise _divided(error) from error
        return changed

    def erase(self, user_id: str) -> None:
        """Delete the user's entry."""
        try:
            self._connected().delete(f"{self._settings.key_prefix}{user_id}")
        except exceptions.RedisError as error:
            raise _divided(error) from error

    def close(self) -> None:
        """Close the connections."""
        if self._client is not None:
            self._client.close()
            self._client = None

    def _store(self, chunk: Sequence[StoredVerdict]) -> int:
        client = self._connected()
        script = client.register_script(KEEP_NEWEST)
        with client.pipeline(transaction=False) as pipeline:
            for stored in chunk:
                key = f"{self._settings.key_prefix}{stored.verdict.user_id}"
                script([key], script_arguments(stored, self._settings.expiry_s), client=pipeline)
            answers: list[Any] = pipeline.execute()
        return sum(int(answer) for answer in answers)

    def _connected(self) -> redis.Redis:
        if self._client is None:
            settings = self._settings
            try:
                self._client = redis.Redis.from_url(
                    settings.url.get_secret_value(),
                    socket_timeout=settings.timeout_s,
                    socket_connect_timeout=settings.timeout_s,
                    # The runner owns the retries: a second loop below it would hide the outage.
                    retry=Retry(NoBackoff(), 0),
                )
            except ValueError:
                # The library's message repeats part of the address, which may be the password.
                raise Fatal("the Redis address (url) is not a redis:// or unix:// URL") from None
        return self._client


def _newest_per_user(verdicts: Sequence[StoredVerdict]) -> Iterable[StoredVerdict]:
    """One verdict per user and source partition: the one with the highest source offset."""
    newest: dict[tuple[str, str], StoredVerdict] = {}
    for stored in verdicts:
        key = (stored.verdict.user_id, place(stored.verdict))
        best = newest.get(key)
        if best is None or stored.verdict.source.offset > best.verdict.source.offset:
            newest[key] = stored
    return newest.values()


def _divided(error: exceptions.RedisError) -> Retryable | Fatal:
    if isinstance(error, _LASTING):
        return Fatal(f"Redis refused the connection: {error}")
    if isinstance(error, _PASSING):
        return Retryable(f"Redis is away: {error}")
    return Fatal(f"Redis: {error}")
