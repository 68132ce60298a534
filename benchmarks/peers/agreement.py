"""How far apart two engines' verdicts on the same transactions are."""

from collections.abc import Sequence

import msgspec

from streamapp.domain.verdict import Scores, Verdict

#: Verdicts agree where no number differs by more: the decimals they are written with.
TOLERANCE = 1e-6


class Agreement(msgspec.Struct, frozen=True):
    """Largest differences over all verdicts compared; agree: how many have none above TOLERANCE.

    identical: how many are the same bytes but for the name of the topic.
    """

    events: int
    agree: int
    identical: int
    risk_score: float
    features: float
    isolation_forest: float
    half_space_trees: float


class _Numbers(msgspec.Struct):
    tx_id: str
    risk_score: float
    scores: Scores
    features: dict[str, float]


_decoder = msgspec.json.Decoder(_Numbers)
_verdict_decoder = msgspec.json.Decoder(Verdict)


def agreement(ours: Sequence[bytes], theirs: Sequence[bytes]) -> Agreement:
    """Compare each of theirs with ours on the same transaction, which must be there."""
    payload_of = {_decoder.decode(payload).tx_id: payload for payload in ours}
    apart, identical = [], 0
    for payload in theirs:
        verdict = _decoder.decode(payload)
        own = payload_of[verdict.tx_id]
        identical += _unplaced(own) == _unplaced(payload)
        apart.append(_apart(_decoder.decode(own), verdict))
    columns = list(zip(*apart, strict=True))
    return Agreement(
        len(apart),
        sum(max(row) <= TOLERANCE for row in apart),
        identical,
        *(max(column) for column in columns),
    )


def _apart(ours: _Numbers, theirs: _Numbers) -> tuple[float, float, float, float]:
    assert ours.features.keys() == theirs.features.keys()
    return (
        abs(ours.risk_score - theirs.risk_score),
        max(abs(ours.features[name] - theirs.features[name]) for name in ours.features),
        abs(_raw(ours.scores, "isolation_forest") - _raw(theirs.scores, "isolation_forest")),
        abs(_raw(ours.scores, "half_space_trees") - _raw(theirs.scores, "half_space_trees")),
    )


def _raw(scores: Scores, member: str) -> float:
    """A member's raw score; 0 where it has none."""
    opinion = getattr(scores, member)
    return opinion.raw if opinion is not None else 0.0


def _unplaced(payload: bytes) -> Verdict:
    """The verdict without where its transaction stands: every engine reads topics of its own."""
    verdict = _verdict_decoder.decode(payload)
    return msgspec.structs.replace(verdict, verdict_id="", source=None)
