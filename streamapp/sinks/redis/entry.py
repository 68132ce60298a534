"""The Redis hash of one user, and the script that lets only newer verdicts in.

Key: `<key_prefix><user_id>`, by default `streamapp:user:<user_id>`. Fields:

    verdict           verdict v1, the JSON bytes as published
    verdict_id, tx_id, event_time (RFC 3339), risk_score, severity, is_anomaly, mode
    profile           the user's profile as the verdict saw it: the feature vector, JSON object
    profile_version   version of the feature contract that `profile` follows
    place             source topic and partition, "transactions/3"
    offset            source offset in that partition

Newer means: a higher source offset in the same partition, so that a replay never goes back; where
the source partition changed (a re-partitioned topic), an event time that is not earlier.

The store is a cache for readers: it can be lost and fills again. Give its Redis a `maxmemory` and
the policy `allkeys-lru`, so that a full memory drops the users idle for longest instead of refusing
writes. An entry takes about 3 KB.
"""

from typing import Final

import msgspec

from streamapp.domain.verdict import Verdict
from streamapp.sinks.protocol import StoredVerdict

#: KEYS[1] the user's key. ARGV: place, offset, event time, expiry in seconds, then field, value, …
#: Offsets stay below 2^53, so Lua's doubles compare them exactly; RFC 3339 in UTC with
#: milliseconds, the form of every verdict, sorts as text. Returns 1 if the entry was replaced.
KEEP_NEWEST: Final = """
local known = redis.call('HMGET', KEYS[1], 'place', 'offset', 'event_time')
if known[1] then
  if known[1] == ARGV[1] then
    if tonumber(ARGV[2]) <= tonumber(known[2]) then return 0 end
  elseif ARGV[3] < known[3] then
    return 0
  end
end
redis.call('DEL', KEYS[1])
redis.call('HSET', KEYS[1], 'place', ARGV[1], 'offset', ARGV[2], 'event_time', ARGV[3],
           unpack(ARGV, 5))
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 1
"""


def script_arguments(stored: StoredVerdict, expiry_s: int) -> list[str | bytes | int | float]:
    """ARGV of KEEP_NEWEST for this verdict."""
    verdict = stored.verdict
    fields: list[str | bytes | int | float] = [place(verdict), verdict.source.offset]
    fields += [verdict.timestamp, expiry_s]
    fields += ["verdict", stored.payload, "verdict_id", verdict.verdict_id]
    fields += ["tx_id", verdict.tx_id, "risk_score", verdict.risk_score]
    fields += ["severity", verdict.severity.value, "is_anomaly", int(verdict.is_anomaly)]
    fields += ["mode", verdict.mode, "profile", msgspec.json.encode(verdict.features)]
    fields += ["profile_version", verdict.versions.features]
    return fields


def place(verdict: Verdict) -> str:
    """Source topic and partition as one text."""
    return f"{verdict.source.topic}/{verdict.source.partition}"
