"""Ours gives what the library gives: checked in the run that times both."""

import math
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.micro_material import Material, river_model
from benchmarks.micro_output import frame, pack, read_back, verdict_dicts, verdict_payloads
from benchmarks.micro_stages import PydanticTransaction
from streamapp.domain.transaction import epoch_ms
from streamapp.features.contract import FEATURE_NAMES
from streamapp.features.profile import seal, unseal
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.half_space_trees import HalfSpaceState
from streamapp.scoring.json_rows import DECIMALS
from tests.features.oracle import Interval, Oracle
from tests.scoring.learning import learn_as_told

FOREST_TOLERANCE = 1e-12
_LAST_DECIMAL = 1.01 * 10**-DECIMALS
_DECODED, _ORACLE, _VERDICTS, _BATCHED = 10_000, 3_000, 5_000, 1_000


class Difference(Exception):
    """Ours and the library's results differ: no figure of the run would mean anything."""


def verify(material: Material) -> list[str]:
    """What was compared and found equal, a line each. Raises Difference."""
    return [
        _forest(material),
        _half_space_trees(material),
        _decode(material),
        _features(material),
        _verdicts(material),
        _record_batches(material),
        _profiles(material),
    ]


def _check(is_equal: bool, what: str) -> str:
    if not is_equal:
        raise Difference(f"not equal: {what}")
    return what


def _forest(material: Material) -> str:
    rows = material.narrow
    apart = float(np.abs(material.forest.score(rows) + material.scikit.score_samples(rows)).max())
    return _check(
        apart <= FOREST_TOLERANCE,
        f"forest and scikit-learn over {len(rows):,} events, at most {apart:.1e} apart",
    )


def _half_space_trees(material: Material) -> str:
    rows = material.features.values
    ours = learn_as_told(
        material.trees, HalfSpaceState.empty(material.trees), rows, np.ones(len(rows), np.bool_)
    ).scores
    theirs = _scores_of_river(material)
    return _check(
        ours.tobytes() == theirs.tobytes() and len(np.unique(ours)) > len(ours) // 100,
        f"half-space trees and River over {len(rows):,} events, bit for bit",
    )


def _scores_of_river(material: Material) -> NDArray[np.float64]:
    model, events = river_model(), material.river_events(len(material.values))
    scores = np.empty(len(events))
    for row, event in enumerate(events):
        scores[row] = model.score_one(event)
        model.learn_one(event)
    return scores


def _decode(material: Material) -> str:
    for ours, value in zip(material.transactions[:_DECODED], material.values, strict=False):
        assert value is not None
        theirs, plain = PydanticTransaction.model_validate_json(value), orjson.loads(value)
        for field in ("tx_id", "user_id", "amount", "merchant_id", "merchant_category"):
            same = getattr(ours, field) == getattr(theirs, field) == plain.get(field)
            _check(same, f"decode of {field}")
        _check(epoch_ms(ours.timestamp) == epoch_ms(theirs.timestamp), "decode of timestamp")
    return f"decode, pydantic and orjson over {_DECODED:,} events"


def _features(material: Material) -> str:
    oracle = Oracle(material.parameters.global_amount_limit, material.parameters.idle_ms_max)
    for row in range(_ORACLE):
        allowed = oracle.tell(material.oracle_event(row)).values
        found = dict(zip(FEATURE_NAMES, material.features.values[row].tolist(), strict=True))
        for name, value in found.items():
            _check(_is_within(value, allowed[name]), f"feature {name} of event {row}")
    return f"{len(FEATURE_NAMES)} features and the brute-force oracle over {_ORACLE:,} events"


def _is_within(value: float, allowed: Interval) -> bool:
    slack = 1e-9 * max(1.0, math.fabs(value))
    return allowed.low - slack <= value <= allowed.high + slack


def _verdicts(material: Material) -> str:
    ours, theirs = verdict_payloads(material, _VERDICTS), verdict_dicts(material, _VERDICTS)
    for payload, verdict in zip(ours, theirs, strict=True):
        mine, their = orjson.loads(payload), orjson.loads(orjson.dumps(verdict))
        mine["reasons"] = []  # of the few CRITICAL ones
        _check(_is_same(mine, their), f"verdict {mine['verdict_id']}")
    return f"verdicts and orjson of dictionaries over {_VERDICTS:,} events"


def _is_same(mine: Any, their: Any) -> bool:
    """Equal, numbers up to one in the last decimal: numpy and Python round halves differently."""
    if isinstance(mine, dict):
        return mine.keys() == their.keys() and all(_is_same(mine[k], their[k]) for k in mine)
    if isinstance(mine, float):
        return abs(mine - their) <= _LAST_DECIMAL
    return bool(mine == their)


def _record_batches(material: Material) -> str:
    values = verdict_payloads(material, _VERDICTS)[:_BATCHED]
    ours, theirs = read_back(frame(ByteColumn.of(values))), read_back(pack("zstd", values))
    return _check(ours == theirs, f"a record batch and aiokafka's of {_BATCHED:,} verdicts")


def _profiles(material: Material) -> str:
    for profile in material.profiles[: material.users]:
        _check(unseal(seal(profile)) == profile.tobytes(), "sealed profile")
    return f"sealed profiles of {material.users} users come back"
