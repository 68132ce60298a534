"""The stages after scoring: verdicts to JSON, messages to record batches, profiles to RocksDB."""

from pathlib import Path
from typing import Any

import numpy as np
import orjson
from aiokafka.record.default_records import DefaultRecordBatchBuilder
from aiokafka.record.memory_records import MemoryRecords
from rocksdict import Options, Rdict

from benchmarks.micro_material import Material
from benchmarks.micro_stages import OURS, Run, Stage, Way, spans
from streamapp.domain.transaction import epoch_ms, rfc3339
from streamapp.domain.verdict import SEVERITIES, Severity
from streamapp.engine.record_batch import Messages, RecordBatch, encoded_headers
from streamapp.engine.store import StateStore, user_key
from streamapp.features.contract import FEATURE_NAMES
from streamapp.features.profile import seal
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.calibration import DEFAULT_CUTOFFS
from streamapp.scoring.half_space_trees import HalfSpaceState
from streamapp.scoring.json_rows import DECIMALS
from streamapp.scoring.payments import Payments
from streamapp.scoring.policy import Policy
from streamapp.scoring.risk import MODES, RiskBlock, assess
from streamapp.scoring.verdicts import SourcePartition, VerdictWriter, recommended_action

#: Kafka's numbers of codecs, as aiokafka's builder takes them.
_CODECS = {"snappy": 2, "lz4": 3, "zstd": 4}
_RECORD_BATCH_BYTES = 4 * 1024 * 1024
_HEADERS = [("schema", b"verdict/1"), ("severity", b"LOW")]
_ENCODED_HEADERS = encoded_headers(_HEADERS)

_SOURCE = SourcePartition("transactions", 0)
#: Reasons are left out of both ways: they are a stage of their own, for 3 % of verdicts.
_POLICY = Policy(explain_severity=Severity.CRITICAL)

_STORED_USERS = 20_000


def output_stages(material: Material, directory: Path) -> list[Stage]:
    """What follows the scores; stores are made in `directory`."""
    store, plain = StateStore(directory / "ours"), _plain_store(directory / "plain")
    payloads = verdict_payloads(material, 20_000)
    images = [seal(profile) for profile in material.profiles[: material.users]]
    return [
        Stage("verdict", {OURS: _verdicts(material), "dict and orjson": _dicts(material)}),
        Stage(
            "record batch",
            {
                OURS: _framed(payloads),
                **{f"aiokafka, {codec}": _packed(payloads, codec) for codec in _CODECS},
            },
        ),
        Stage("RocksDB, write", {OURS: _write(store, images), "a put each": _put(plain, images)}),
        Stage("RocksDB, read", {OURS: _read(store, images), "a get each": _get(store, images)}),
    ]


def _risk(material: Material, start: int, stop: int, state: HalfSpaceState) -> RiskBlock:
    return assess(
        material.features.values[start:stop],
        material.columns.records["user"][start:stop],
        material.features.is_cold[start:stop],
        state,
        material.model,
        DEFAULT_CUTOFFS,
    )


def _assessed(material: Material, batch: int, events: int) -> list[tuple[int, int, RiskBlock]]:
    state = HalfSpaceState.empty(material.model.half_space_trees)
    return [(a, b, _risk(material, a, b, state)) for a, b in spans(batch, events)]


def _verdicts(material: Material) -> Way:
    writer = VerdictWriter(_SOURCE, material.model, _POLICY)

    def way(batch: int, events: int) -> Run:
        assessed = _assessed(material, batch, events)
        read = [material.payments(start, stop) for start, stop, _ in assessed]
        return lambda: [
            _written(writer, material, payments, *one)
            for payments, one in zip(read, assessed, strict=True)
        ]

    return way


def _written(
    writer: VerdictWriter,
    material: Material,
    payments: Payments,
    start: int,
    stop: int,
    risk: RiskBlock,
) -> ByteColumn:
    return writer.write(payments, material.features, material.rows[start:stop], risk)


def verdict_payloads(material: Material, events: int) -> list[bytes]:
    """Verdicts as we write them."""
    writer = VerdictWriter(_SOURCE, material.model, _POLICY)
    return [
        payload
        for start, stop, risk in _assessed(material, 1_000, events)
        for payload in _written(writer, material, material.payments(start, stop), start, stop, risk)
    ]


def _dicts(material: Material) -> Way:
    def way(batch: int, events: int) -> Run:
        assessed = _assessed(material, batch, events)

        def run() -> None:
            for start, _, risk in assessed:
                for row in range(len(risk.risk)):
                    orjson.dumps(_verdict_dict(material, risk, start, row))

        return run

    return way


def verdict_dicts(material: Material, events: int) -> list[dict[str, Any]]:
    """The same verdicts as dictionaries."""
    return [
        _verdict_dict(material, risk, start, row)
        for start, _, risk in _assessed(material, 1_000, events)
        for row in range(len(risk.risk))
    ]


def _verdict_dict(material: Material, risk: RiskBlock, start: int, row: int) -> dict[str, Any]:
    """One verdict field by field, as one would write it for an event at a time."""
    offset, transaction = start + row, material.transactions[start + row]
    severity, mode = SEVERITIES[risk.severity[row]], MODES[risk.mode[row]]
    raw, share = risk.raw[row].tolist(), risk.share[row].tolist()
    values = [round(value, DECIMALS) + 0.0 for value in risk.values[row].tolist()]
    members = [
        {"raw": round(one, DECIMALS), "calibrated": round(p, DECIMALS)}
        for one, p in zip(raw, share, strict=True)
    ]
    version = material.model.version
    return {
        "schema_version": 1,
        "verdict_id": f"{_SOURCE.topic}-{_SOURCE.partition}-{offset}",
        "tx_id": transaction.tx_id,
        "user_id": transaction.user_id,
        "timestamp": rfc3339(epoch_ms(transaction.timestamp)),
        "risk_score": risk.risk[row].item(),
        "severity": severity.value,
        "is_anomaly": severity.rank >= _POLICY.anomaly_severity.rank,
        "recommended_action": recommended_action(severity, mode),
        "mode": mode,
        "scores": {
            "isolation_forest": members[0],
            "half_space_trees": members[1] if risk.is_warm[row] else None,
            "supervised": None,
            "rules": None,
        },
        "reasons": [],
        "features": dict(zip(FEATURE_NAMES, values, strict=True)),
        "versions": {
            "models": version,
            "rules": "none",
            "calibration": version,
            "features": material.model.feature_contract,
        },
        "source": {"topic": _SOURCE.topic, "partition": _SOURCE.partition, "offset": offset},
        "amount": transaction.amount,
        "currency": transaction.currency,
        "merchant_id": transaction.merchant_id,
        "is_late": bool(material.features.is_late[offset]),
        "duplicate_of": None,
    }


def _framed(values: list[bytes]) -> Way:
    """From a column of verdicts, as their writer leaves it."""

    def way(batch: int, events: int) -> Run:
        columns = [ByteColumn.of(_cycled(values, *span)) for span in spans(batch, events)]
        return lambda: [frame(column) for column in columns]

    return way


def frame(values: ByteColumn) -> bytes:
    """One record batch by ours."""
    count = len(values)
    keys = ByteColumn.of([b"user"] * count)
    headers = ByteColumn.of([_ENCODED_HEADERS]).take(np.zeros(count, np.int64))
    return RecordBatch([Messages(keys, values, headers)], 1, is_transactional=True)._build()


def _packed(values: list[bytes], codec: str) -> Way:
    def way(batch: int, events: int) -> Run:
        batches = [_cycled(values, *span) for span in spans(batch, events)]
        return lambda: [pack(codec, one) for one in batches]

    return way


def pack(codec: str, values: list[bytes]) -> bytes:
    """One record batch by aiokafka's builder."""
    batch = DefaultRecordBatchBuilder(
        magic=2,
        compression_type=_CODECS[codec],
        is_transactional=1,
        producer_id=-1,
        producer_epoch=-1,
        base_sequence=-1,
        batch_size=_RECORD_BATCH_BYTES,
    )
    for number, value in enumerate(values):
        batch.append(number, timestamp=1, key=b"user", value=value, headers=_HEADERS)
    return bytes(batch.build())


def read_back(batch: bytes) -> list[tuple[Any, ...]]:
    """The records of one batch, by aiokafka's reader."""
    found = MemoryRecords(batch).next_batch()
    assert found.validate_crc()
    return [(one.offset, one.key, one.value, list(one.headers)) for one in found]


def _cycled(values: list[bytes], start: int, stop: int) -> list[bytes]:
    return [values[number % len(values)] for number in range(start, stop)]


def _plain_store(directory: Path) -> Rdict:
    options = Options(raw_mode=True)
    options.create_if_missing(True)
    return Rdict(str(directory), options=options)


def _items(images: list[bytes], start: int, stop: int) -> list[tuple[bytes, bytes]]:
    return [(user_key(str(n % _STORED_USERS)), images[n % len(images)]) for n in range(start, stop)]


def _write(store: StateStore, images: list[bytes]) -> Way:
    store.write(_items(images, 0, _STORED_USERS), 0)

    def way(batch: int, events: int) -> Run:
        batches = [_items(images, start, stop) for start, stop in spans(batch, events)]

        def run() -> None:
            for items in batches:
                store.write(items, 0)

        return run

    return way


def _put(store: Rdict, images: list[bytes]) -> Way:
    def way(_batch: int, events: int) -> Run:
        items = _items(images, 0, events)

        def run() -> None:
            for key, value in items:
                store[key] = value

        return run

    return way


def _read(store: StateStore, images: list[bytes]) -> Way:
    def way(batch: int, events: int) -> Run:
        batches = [
            [key for key, _ in _items(images, start, stop)] for start, stop in spans(batch, events)
        ]
        return lambda: [store.get_many(keys) for keys in batches]

    return way


def _get(store: StateStore, images: list[bytes]) -> Way:
    def way(_batch: int, events: int) -> Run:
        keys = [key for key, _ in _items(images, 0, events)]
        return lambda: [store.get(key) for key in keys]

    return way
