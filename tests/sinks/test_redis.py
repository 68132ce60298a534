"""What readers of Redis may rely on: the newest verdict of a user, for a time."""

import msgspec
import pytest
from pydantic import SecretStr

from streamapp.domain.verdict import Source
from streamapp.sinks.protocol import Fatal, StoredVerdict
from streamapp.sinks.redis.adapter import RedisSink
from streamapp.sinks.redis.settings import RedisSettings
from tests.servers.server import Server
from tests.sinks.subjects import RedisSubject
from tests.sinks.verdicts import stored, verdict

pytestmark = pytest.mark.integration


def of_user(offset: int, partition: int = 0) -> StoredVerdict:
    """A verdict of user "u"; later offsets have later event times."""
    return stored(verdict(offset, partition, user_id="u"))


def kept(subject: RedisSubject) -> str:
    """Id of the verdict that readers see for user "u"."""
    return next(iter(subject.rows()))


def test_entry_holds_verdict_and_profile(redis_subject: RedisSubject) -> None:
    """A reader gets the published bytes and the profile as the verdict saw it."""
    published = of_user(3)
    sink = redis_subject.sink()
    sink.write([published])
    sink.close()
    with redis_subject.client() as client:
        entry = client.hgetall(f"{redis_subject.prefix}u")
        expiry_s = client.ttl(f"{redis_subject.prefix}u")
    assert published.payload == entry[b"verdict"]
    assert published.verdict.features == msgspec.json.decode(entry[b"profile"])
    assert (b"transactions/0", b"3", b"HIGH") == (
        entry[b"place"],
        entry[b"offset"],
        entry[b"severity"],
    )
    assert 0 < expiry_s <= 30 * 86_400


@pytest.mark.parametrize("offsets", [[1, 2, 3], [3, 2, 1], [2, 3, 1]])
@pytest.mark.parametrize("at_once", [True, False])
def test_highest_source_offset_wins(
    redis_subject: RedisSubject, offsets: list[int], at_once: bool
) -> None:
    """In whatever order and batches verdicts come, a replay never goes back."""
    sink = redis_subject.sink()
    batch = [of_user(offset) for offset in offsets]
    for part in [batch] if at_once else [[one] for one in batch]:
        sink.write(part)
    sink.close()
    assert "transactions-0-3" == kept(redis_subject)


def test_offsets_compare_as_numbers(redis_subject: RedisSubject) -> None:
    """9 is before 10, and large offsets stay exact."""
    sink = redis_subject.sink()
    assert [1, 1, 0] == [sink.write([of_user(offset)]) for offset in (9, 10, 9)]
    sources = [Source("transactions", 0, offset) for offset in (2**53 - 2, 2**53 - 1)]
    large = [stored(verdict(1, user_id="v", source=source)) for source in sources]
    assert [1, 1] == [sink.write([one]) for one in large]
    sink.close()


def test_moved_user_follows_event_time(redis_subject: RedisSubject) -> None:
    """Where the topic was partitioned anew offsets say nothing; the later event wins."""
    sink = redis_subject.sink()
    assert [1, 1, 0] == [sink.write([of_user(*place)]) for place in ((900, 0), (901, 1), (5, 2))]
    sink.close()
    assert "transactions-1-901" == kept(redis_subject)


def test_lost_script_is_loaded_again(redis_subject: RedisSubject) -> None:
    """A server that forgot its scripts is no error."""
    sink = redis_subject.sink()
    sink.write([of_user(1)])
    with redis_subject.client() as client:
        client.script_flush()
    assert 1 == sink.write([of_user(2)])
    sink.close()


def test_wrong_password_is_fatal(redis_server: Server) -> None:
    """Waiting does not mend a password."""
    url = redis_server.url.replace("redis://", "redis://nobody:wrong@")
    with pytest.raises(Fatal):
        RedisSink(RedisSettings(url=SecretStr(url))).open()


def test_malformed_address_is_not_repeated_in_the_error() -> None:
    """The address may hold the password."""
    with pytest.raises(Fatal) as caught:
        RedisSink(RedisSettings(url=SecretStr("secret-password"))).open()
    assert "secret-password" not in str(caught.value)
