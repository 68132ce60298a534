"""The heart: the same bytes wherever the stream is cut, one outcome for every record."""

import json

import jsonschema
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from streamapp.contract.json_schema import verdict_schema
from streamapp.domain.dead_letter import Reason
from streamapp.domain.verdict import Severity, Verdict, decode_verdict
from streamapp.features.contract import CONTRACT_VERSION, FEATURE_NAMES
from streamapp.features.profile import seal
from streamapp.scoring import Pipeline
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.partition_state import PartitionState
from streamapp.scoring.policy import Policy
from streamapp.scoring.process import process
from streamapp.scoring.profiles import MemoryProfiles
from streamapp.scoring.verdicts import recommended_action
from tests.scoring.conftest import Traffic
from tests.scoring.mixed import Run, mixed, run

ROWS = 2_500
VALIDATOR = jsonschema.Draft202012Validator(verdict_schema())


@pytest.fixture(scope="module")
def stream(traffic: Traffic) -> Traffic:
    """Recorded traffic with everything that may go wrong in it."""
    return mixed(traffic, ROWS)


@pytest.fixture(scope="module")
def whole(stream: Traffic, model: ModelArtifact) -> Run:
    """The outcome of the stream in batches of 4,096: one batch."""
    assert len(stream.values) < 4_096
    return run(stream, model, [4_096])


@pytest.mark.parametrize("size", [1, 7, 256])
def test_the_batch_size_never_shows(
    stream: Traffic, whole: Run, model: ModelArtifact, size: int
) -> None:
    """Verdicts, dead letters, profiles and state are the same bytes for any batch size."""
    assert whole == run(stream, model, [size])


@given(sizes=st.lists(st.integers(1, 400), min_size=1, max_size=8))
@settings(max_examples=15, deadline=None)
def test_batches_may_be_cut_anywhere(
    stream: Traffic, model: ModelArtifact, sizes: list[int]
) -> None:
    """Also where sizes change all the time, as they do when batches follow what has arrived."""
    short = Traffic(stream.keys[:600], stream.values[:600])
    assert run(short, model, [600]) == run(short, model, sizes)


def test_a_profile_may_expire_inside_a_batch(model: ModelArtifact) -> None:
    """Decisions on payments of a profile that is gone are kept nowhere."""
    start = 1_770_033_600_000
    days = [("ann", 0), ("ann", 0), *[("bob", day) for day in range(92)], ("ann", 92)]
    values = [
        json.dumps(
            {
                "tx_id": f"t{number}",
                "user_id": user,
                "amount": 10.0 * (number + 1),
                "timestamp": start + day * 86_400_000,
            }
        ).encode()
        for number, (user, day) in enumerate(days)
    ]
    quiet = Traffic([user.encode() for user, _ in days], values)
    whole = run(quiet, model, [100])
    assert [] == whole.dead_letters
    assert 0.0 == whole.verdicts()[-1].features["count_30d"]
    assert 1.0 == whole.verdicts()[1].features["count_30d"]
    assert whole == run(quiet, model, [1])


def test_the_stream_has_everything_in_it(whole: Run) -> None:
    """The tests here are about something: each kind of outcome occurs."""
    verdicts = whole.verdicts()
    reasons = {letter.rejected.reason for letter in whole.dead_letters}
    assert {
        Reason.EMPTY,
        Reason.NOT_JSON,
        Reason.NOT_UTF8,
        Reason.KEY_MISMATCH,
        Reason.OUT_OF_RANGE,
        Reason.TIME_AHEAD,
    } == reasons
    assert set(Severity) == {verdict.severity for verdict in verdicts}
    assert {"model", "cold_start"} == {verdict.mode for verdict in verdicts}
    assert min(whole.late, whole.duplicates) > 20
    near = [v for v in verdicts if v.duplicate_of == f"transactions-2-{v.source.offset - 1}"]
    assert 20 < len(near) < whole.duplicates


def test_every_record_has_one_outcome(stream: Traffic, whole: Run) -> None:
    """A verdict or a dead letter, never both, never none, in offset order."""
    dead = [letter.offset for letter in whole.dead_letters]
    assert (sorted(dead), sorted(whole.payloads)) == (dead, [*whole.payloads])
    assert [*range(len(stream.values))] == sorted([*whole.payloads, *dead])


def test_a_dead_letter_keeps_its_record(stream: Traffic, whole: Run) -> None:
    """Bytes and key as received, and the place they came from."""
    for letter in whole.dead_letters:
        assert (stream.keys[letter.offset], stream.values[letter.offset]) == (
            letter.key,
            letter.value,
        )
        assert ("transactions", 2) == (letter.topic, letter.partition)


def test_verdicts_keep_the_published_schema(whole: Run) -> None:
    """Each kind of verdict validates, not just the common one."""
    picked = {
        (v.severity, v.mode, v.is_late, v.duplicate_of is None, len(v.reasons)): payload
        for v, payload in zip(whole.verdicts(), whole.payloads.values(), strict=True)
    }
    assert len(picked) > 10
    for payload in [*picked.values(), *list(whole.payloads.values())[:100]]:
        VALIDATOR.validate(json.loads(payload))


def test_a_verdict_says_what_it_is_about(stream: Traffic, whole: Run, model: ModelArtifact) -> None:
    """Its transaction, its place, and the versions that made it."""
    for offset, payload in whole.payloads.items():
        verdict = decode_verdict(payload)
        sent = json.loads(stream.values[offset] or b"")
        assert (sent["tx_id"], sent["user_id"]) == (verdict.tx_id, verdict.user_id)
        assert sent["amount"] == verdict.amount
        assert f"transactions-2-{offset}" == verdict.verdict_id
        assert ("transactions", 2, offset) == (
            verdict.source.topic,
            verdict.source.partition,
            verdict.source.offset,
        )
        assert (model.version, CONTRACT_VERSION) == (
            verdict.versions.models,
            verdict.versions.features,
        )


def test_features_are_named_completely(whole: Run) -> None:
    """All 36, in the order of the vector, and none for a duplicate: its first verdict has them."""
    for verdict in whole.verdicts():
        expected = [*FEATURE_NAMES] if verdict.duplicate_of is None else []
        assert expected == list(verdict.features)


def test_reasons_are_given_from_the_severity_asked_for(whole: Run) -> None:
    """MEDIUM and above by default, sorted by contribution; a duplicate points at its first."""
    for verdict in whole.verdicts():
        shares = [reason.contribution for reason in verdict.reasons]
        assert sorted(shares, reverse=True) == shares
        explained = verdict.severity is not Severity.LOW and verdict.duplicate_of is None
        assert explained == bool(verdict.reasons)
        for reason in verdict.reasons:
            assert verdict.features[reason.feature] == reason.value


def test_a_duplicate_repeats_the_first_verdict(whole: Run) -> None:
    """Same risk, severity, mode, action and lateness as the verdict it names."""
    by_id = {verdict.verdict_id: verdict for verdict in whole.verdicts()}
    duplicates = [verdict for verdict in by_id.values() if verdict.duplicate_of]
    assert whole.duplicates == len(duplicates)
    for again in duplicates:
        first = by_id[again.duplicate_of or ""]
        assert first.duplicate_of is None
        assert first.source.offset < again.source.offset
        assert decision(first) == decision(again)


def decision(verdict: Verdict) -> tuple[object, ...]:
    """What a duplicate must repeat of the first verdict."""
    return (
        verdict.tx_id,
        verdict.user_id,
        verdict.risk_score,
        verdict.severity,
        verdict.is_anomaly,
        verdict.recommended_action,
        verdict.mode,
        verdict.is_late,
    )


def test_a_replay_is_fenced(stream: Traffic, whole: Run, model: ModelArtifact) -> None:
    """Records already in the profiles change none of them; only duplicates answer again."""
    profiles = MemoryProfiles()
    for _ in range(2):
        state = PartitionState.initial(model.version, model.half_space_trees)
        batch = process(stream.records(), profiles, state, model, Policy())
    assert whole.profiles == {user: seal(profile) for user, profile in profiles.items()}
    assert [] == batch.touched.tolist()
    assert len(whole.payloads) == batch.fenced + batch.duplicates
    assert [*batch.payloads] == [whole.payloads[row] for row in batch.rows]


def test_cutoffs_make_the_severity(stream: Traffic, model: ModelArtifact) -> None:
    """Each cut-off is the lowest risk of its severity; the score itself does not move."""
    policy = Policy(cutoffs=(10.0, 20.0, 30.0))
    short = Traffic(stream.keys[:800], stream.values[:800])
    default, strict = run(short, model, [256]), run(short, model, [256], policy)
    for before, after in zip(default.verdicts(), strict.verdicts(), strict=True):
        assert before.risk_score == after.risk_score
        rank = sum(after.risk_score >= cutoff for cutoff in policy.cutoffs)
        assert rank == after.severity.rank


@pytest.mark.parametrize("severity", list(Severity))
def test_anomalies_start_at_the_severity_asked_for(
    stream: Traffic, model: ModelArtifact, severity: Severity
) -> None:
    """The mark consumers route by."""
    short = Traffic(stream.keys[:400], stream.values[:400])
    for verdict in run(short, model, [256], Policy(anomaly_severity=severity)).verdicts():
        assert (verdict.severity.rank >= severity.rank) == verdict.is_anomaly


def test_reasons_start_at_the_severity_asked_for(stream: Traffic, model: ModelArtifact) -> None:
    """None asks for none; the rest of a verdict is the same."""
    short = Traffic(stream.keys[:1_000], stream.values[:1_000])
    from_high = run(short, model, [256], Policy(explain_severity=Severity.HIGH)).verdicts()
    without = run(short, model, [256], Policy(explain_severity=None)).verdicts()
    explained = [bool(verdict.reasons) for verdict in from_high]
    assert any(explained)
    assert explained == [verdict.severity.rank >= 2 for verdict in from_high]
    bare = [msgspec.structs.replace(verdict, reasons=[]) for verdict in from_high]
    assert bare == without


@pytest.mark.parametrize(
    ("severity", "mode", "action"),
    [
        (Severity.LOW, "model", "approve"),
        (Severity.MEDIUM, "model", "review"),
        (Severity.HIGH, "model", "review"),
        (Severity.CRITICAL, "model", "block"),
        (Severity.LOW, "cold_start", "approve"),
        (Severity.HIGH, "cold_start", "review"),
        (Severity.CRITICAL, "cold_start", "review"),
    ],
)
def test_the_recommended_action(severity: Severity, mode: str, action: str) -> None:
    """Nobody is blocked on the strength of a handful of payments."""
    assert action == recommended_action(severity, mode)  # type: ignore[arg-type]


def test_the_action_stands_in_the_verdict(whole: Run) -> None:
    """By severity and mode, for every verdict."""
    for verdict in whole.verdicts():
        expected = recommended_action(verdict.severity, verdict.mode)
        assert expected == verdict.recommended_action


def test_severities_run_beside_the_payloads(stream: Traffic, model: ModelArtifact) -> None:
    """What is routed by is what stands in the message; rows likewise."""
    profiles = MemoryProfiles()
    state = PartitionState.initial(model.version, model.half_space_trees)
    batch = process(stream.records(0, 700), profiles, state, model, Policy())
    verdicts = [decode_verdict(payload) for payload in batch.payloads]
    assert batch.severities == [verdict.severity.rank for verdict in verdicts]
    assert batch.rows == [verdict.source.offset for verdict in verdicts]
    changed = {verdict.user_id for verdict in verdicts if verdict.duplicate_of is None}
    assert len(changed) == len(batch.touched)


def test_an_empty_batch_is_no_trouble(model: ModelArtifact) -> None:
    """A batch of nothing, or of nothing but dead letters."""
    profiles = MemoryProfiles()
    state = PartitionState.initial(model.version, model.half_space_trees)
    nothing = process(Traffic([], []).records(), profiles, state, model, Policy())
    assert ([], [], -1) == (nothing.rows, nothing.dead_letters, state.source_offset)
    dead = process(Traffic([None], [b"x"]).records(), profiles, state, model, Policy())
    assert ([], 1, 0) == (dead.rows, len(dead.dead_letters), state.source_offset)


def test_a_time_zone_is_part_of_the_features_version(
    traffic: Traffic, model: ModelArtifact
) -> None:
    """Hours read in another zone are other features."""
    short = Traffic(traffic.keys[:3], traffic.values[:3])
    local = run(short, model, [3], Policy(time_zone="Europe/Brussels")).verdicts()
    assert {f"{CONTRACT_VERSION}@Europe/Brussels"} == {v.versions.features for v in local}


def test_the_python_api_scores_dictionaries(model: ModelArtifact) -> None:
    """A verdict for each transaction, in order; a refusal says which field is wrong."""
    payment = {"user_id": "ann", "amount": 12.5, "timestamp": "2026-01-05T09:00:00Z"}
    first, bad, again = Pipeline(model).score(
        [
            {"tx_id": "1", **payment},
            {"tx_id": "2", **payment, "amount": -1},
            {"tx_id": "1", **payment},
        ]
    )
    assert isinstance(first, Verdict)
    assert (Reason.OUT_OF_RANGE, "amount") == (bad.reason, bad.field)  # type: ignore[union-attr]
    assert first.verdict_id == again.duplicate_of  # type: ignore[union-attr]
