"""An erasure among records: its user is as one never seen, and nothing else changes."""

import json

import pytest

from streamapp.domain.dead_letter import Reason
from streamapp.domain.erasure import erasure, erasure_rows
from streamapp.domain.verdict import decode_verdict
from streamapp.features.profile import seal
from streamapp.scoring import Pipeline
from streamapp.scoring.artifact import ModelArtifact
from tests.scoring.conftest import Traffic

ROWS = 1_200


def _with_erasures(traffic: Traffic) -> tuple[Traffic, list[int]]:
    """The traffic with an erasure behind every 37th payment, of its user, and where they are."""
    keys: list[bytes | None] = []
    values: list[bytes | None] = []
    places = []
    for at, (key, value) in enumerate(zip(traffic.keys[:ROWS], traffic.values[:ROWS], strict=True)):
        keys.append(key)
        values.append(value)
        if at % 37 == 36:
            places.append(len(keys))
            keys.append(key)
            values.append(erasure((key or b"").decode()))
    return Traffic(keys, values), places


def _outcome(traffic: Traffic, model: ModelArtifact, size: int) -> tuple[object, ...]:
    pipeline = Pipeline(model)
    rows, payloads, erased = [], [], []
    for start in range(0, len(traffic.keys), size):
        end = start + size
        scored = pipeline.process(traffic.keys[start:end], traffic.values[start:end])
        assert [] == scored.dead_letters
        rows += [start + row for row in scored.rows]
        erased += [start + row for row in scored.erased]
        payloads += list(scored.payloads)
    profiles = {user: seal(profile) for user, profile in pipeline.profiles.items()}
    return rows, payloads, erased, profiles, pipeline.state.to_bytes(model.half_space_trees)


def test_where_a_batch_is_cut_never_shows(traffic: Traffic, model: ModelArtifact) -> None:
    """Verdicts, profiles and state are the same bytes for any batch size."""
    stream, places = _with_erasures(traffic)
    whole = _outcome(stream, model, 4_096)
    assert places == whole[2]
    assert ROWS == len(whole[1])  # type: ignore[arg-type]
    for size in (1, 7, 100):
        assert whole == _outcome(stream, model, size)


def test_who_comes_back_is_new(traffic: Traffic, model: ModelArtifact) -> None:
    """No earlier payment counts any more, and a tx_id of before is none that was seen."""
    pipeline = Pipeline(model)
    pipeline.process(traffic.keys[:ROWS], traffic.values[:ROWS])
    key, value = traffic.keys[ROWS - 1] or b"", traffic.values[ROWS - 1] or b""
    user = key.decode()
    others = {name: seal(one) for name, one in pipeline.profiles.items() if name != user}
    scored = pipeline.process([key, key], [erasure(user), value])
    [payload] = scored.payloads
    verdict = decode_verdict(payload)
    assert (1.0, 0.0) == (verdict.features["is_new_user"], verdict.features["count_30d"])
    assert ("cold_start", None) == (verdict.mode, verdict.duplicate_of)
    left = {name: seal(one) for name, one in pipeline.profiles.items()}
    assert others == {name: one for name, one in left.items() if name != user}
    assert ROWS + 1 == pipeline.state.source_offset
    pipeline.process([key], [erasure(user)])
    assert others == {name: seal(one) for name, one in pipeline.profiles.items()}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        (b"u", b'{"erase":"profile","user_id":"another"}'),
        (b"u", b'{"erase":"all","user_id":"u"}'),
        (b"u", b'{"erase":"profile","user_id":"u","more":1}'),
        (b"u", b'{"erase":"profile"'),
        (None, erasure("u")),
    ],
)
def test_what_only_looks_like_one(model: ModelArtifact, key: bytes | None, value: bytes) -> None:
    """Is refused as any record that is no transaction."""
    assert [] == erasure_rows([key], [value])
    [letter] = Pipeline(model).process([key], [value]).dead_letters
    assert letter.rejected.reason in (Reason.MISSING_FIELD, Reason.NOT_JSON)


def test_of_a_user_with_any_name() -> None:
    """Quotes and letters of all kinds."""
    for user in ('"', "ä😀", "\0"):
        value = erasure(user)
        assert user == json.loads(value)["user_id"]
        assert [0] == erasure_rows([user.encode()], [value])
