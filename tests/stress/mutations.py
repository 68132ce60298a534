"""Structured mutations of valid transactions: what careless or hostile producers send, by seed."""

import json
import random
import string
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from streamapp.domain.transaction import PAYLOAD_BYTES_MAX, TIME_MS_MAX, Transaction

Header = tuple[str, bytes | None]

#: A broker takes records up to 1,048,588 bytes unless told otherwise.
RECORD_BYTES_MAX: Final = 1_040_000

FIELDS: Final = Transaction.__struct_fields__
REQUIRED: Final = ("tx_id", "user_id", "amount", "timestamp")

NUMBERS: Final = (
    "0", "-0", "-0.0", "1e12", "1000000000000.0001", "1e13", "1e308", "1e309", "-1e309", "5e-324",
    "-5e-324", "1e-400", "0.1", "1E+2", "NaN", "Infinity", "-Infinity", "9007199254740993",
    "9223372036854775807", "9223372036854775808", "18446744073709551615", "18446744073709551616",
    "-9223372036854775809", "01", "+1", ".5", "1.", "1e", "1e+", "-", "0x10", "1_000", "1,5", "٣",
    "1e99999999999", "1" * 400, "0." + "9" * 5000, "-" + "9" * 4301,
)  # fmt: skip
TIMES: Final = (
    "0", "-1", f"{TIME_MS_MAX}", f"{TIME_MS_MAX + 1}", "1e12", "1.5", "9223372036854775808",
    '"2019-01-01T00:00:00"', '"2019-01-01"', '"2019-02-29T00:00:00Z"', '"2016-12-31T23:59:60Z"',
    '"0000-01-01T00:00:00Z"', '"0001-01-01T00:00:00+23:59"', '"9999-12-31T23:59:59.999999999Z"',
    '"9999-12-31T23:59:59-23:59"', '"2019-01-01T00:00:00+24:00"', '"2019-01-01T00:00:00.1Z"',
    '"2019-01-01T00:00:00,5Z"', '"١٢٣٤-01-01T00:00:00Z"', '"2019-01-01t00:00:00z"', '"Z"',
)  # fmt: skip
TYPES: Final = ("null", "true", "false", "[]", "{}", "[1]", '{"a":1}', '""', '"1"', "1", "1.5")
TEXTS: Final = (
    '"\\u0000"', '"\\ud800"', '"\\udc00\\ud800"', '"\\uD83D\\uDE00"', '"\\uffff"', '"\\x41"',
    '"\\"', '"\t"', '"\x00"', '"\u202egnp"', '"e\u0301"', '"\u2028"', '"\\u000"', "'a'", '" "',
)  # fmt: skip
NOT_UTF8: Final = (
    b"\x80", b"\xff", b"\xc0\xaf", b"\xe2\x82", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xfe\xff",
)  # fmt: skip
WHOLE: Final = (
    b"", b" ", b"\n\t", b"null", b"true", b"0", b'"text"', b"[]", b"{}", b"[{}]", b"{", b"}", b"\0",
    b"NaN", b"<xml/>", b"tx_id=1&amount=2", b"\x1f\x8b\x08\x00", b"\x00\x00\x00\x00\x01{}", b"{}{}",
)  # fmt: skip


@dataclass(slots=True)
class Draft:
    """A message on its way to be wrong: fields as raw JSON texts, until bytes are laid down."""

    key: bytes | None
    fields: list[tuple[str, str]]
    headers: list[Header] = field(default_factory=list)
    laid: bytes | None = None
    is_tombstone: bool = False

    @property
    def value(self) -> bytes:
        """The bytes as they would go out now."""
        if self.laid is not None:
            return self.laid
        body = ",".join(f'"{name}":{raw}' for name, raw in self.fields)
        return ("{" + body + "}").encode()

    def replace(self, name: str, raw: str) -> None:
        """Give the field another raw value, or add it."""
        self.fields = [pair for pair in self.fields if pair[0] != name] + [(name, raw)]


@dataclass(frozen=True, slots=True)
class Mutant:
    """A record to send, and the mutations that made it."""

    kinds: tuple[str, ...]
    key: bytes | None
    value: bytes | None
    headers: list[Header]

    @property
    def size(self) -> int:
        """Its bytes in a record, near enough."""
        headers = sum(len(name.encode()) + len(value or b"") + 8 for name, value in self.headers)
        return len(self.key or b"") + len(self.value or b"") + headers

    @property
    def is_refused_for_sure(self) -> bool:
        """Whether it can't be a transaction; others may still be one, however odd."""
        return len(self.kinds) == 1 and self.kinds[0] in REFUSED


def _drop(rng: random.Random, draft: Draft) -> None:
    gone = rng.choice(REQUIRED)
    draft.fields = [pair for pair in draft.fields if pair[0] != gone]


def _rename(rng: random.Random, draft: Draft) -> None:
    old = rng.choice(REQUIRED)
    new = rng.choice([old.upper(), f" {old}", f"{old} ", old.replace("_", "-"), f"{old}s", ""])
    new = new if new != old else f"_{old}"
    draft.fields = [(new if name == old else name, raw) for name, raw in draft.fields]


def _duplicate(rng: random.Random, draft: Draft) -> None:
    name, raw = rng.choice(draft.fields)
    raw = rng.choice([raw, rng.choice(TYPES), rng.choice(NUMBERS)])
    draft.fields.insert(rng.randrange(len(draft.fields) + 1), (name, raw))


def _retype(rng: random.Random, draft: Draft) -> None:
    name = rng.choice(["tx_id", "user_id", "amount"])
    others = [raw for raw in TYPES if raw[0] not in ('"' if name != "amount" else "1")]
    draft.replace(name, rng.choice(others))


def _anything(rng: random.Random, draft: Draft) -> None:
    draft.replace(rng.choice(FIELDS), rng.choice([*TYPES, *NUMBERS, *TIMES, *TEXTS]))


def _number(rng: random.Random, draft: Draft) -> None:
    names = ["amount", "latitude", "longitude", "account_age_days", "ip_risk_score", "extra"]
    draft.replace(rng.choice(names), rng.choice(NUMBERS))


def _negative(rng: random.Random, draft: Draft) -> None:
    draft.replace("amount", f"-{rng.uniform(1e-9, 1e15)}")


def _time(rng: random.Random, draft: Draft) -> None:
    draft.replace("timestamp", rng.choice([*TIMES, *NUMBERS]))


def _text(rng: random.Random, draft: Draft) -> None:
    draft.replace(rng.choice(["tx_id", "merchant_id", "country", "note"]), rng.choice(TEXTS))


def _nest(rng: random.Random, draft: Draft) -> None:
    depth = rng.choice([2, 100, 1_000, 1_025, 5_000, 20_000])
    opened, closed = rng.choice([("[", "]"), ('{"a":', "}")])
    closing = closed * rng.choice([depth, depth, depth - 1, 0])
    draft.replace(rng.choice(["note", "tx_id", "amount"]), opened * depth + "1" + closing)


def _swell(rng: random.Random, draft: Draft) -> None:
    length = rng.choice([127, 128, 129, 4_096, 16_384])
    character = rng.choice(["x", "é", "😀", "\\u00e9", " "])
    draft.replace(
        rng.choice(["tx_id", "merchant_id", "device_id", "note"]), f'"{character * length}"'
    )


def _too_large(rng: random.Random, draft: Draft) -> None:
    length = rng.choice([*[PAYLOAD_BYTES_MAX] * 50, 900_000])
    draft.replace("note", f'"{"x" * length}"')


def _many_fields(rng: random.Random, draft: Draft) -> None:
    draft.fields += [(f"{n}", rng.choice(TYPES)) for n in range(rng.choice([10, 100, 4_000]))]


def _not_utf8(rng: random.Random, draft: Draft) -> None:
    draft.replace(rng.choice(["tx_id", "merchant_id", "note"]), '"@"')
    draft.laid = draft.value.replace(b'"@"', b'"' + rng.choice(NOT_UTF8) + b'"')


def _other_encoding(rng: random.Random, draft: Draft) -> None:
    text = draft.value.decode(errors="replace")
    draft.laid = text.encode(rng.choice(["utf-16", "utf-16-le", "utf-32", "utf-8-sig"]))


def _cut(rng: random.Random, draft: Draft) -> None:
    value = draft.value
    draft.laid = value[: rng.randrange(len(value))]


def _append(rng: random.Random, draft: Draft) -> None:
    draft.laid = draft.value + rng.choice([b"x", b"}", b",", b"\0", draft.value, b"\n// end"])


def _flip(rng: random.Random, draft: Draft) -> None:
    value = bytearray(draft.value)
    for _ in range(rng.choice([1, 1, 2, 8])):
        value[rng.randrange(len(value))] = rng.randrange(256)
    draft.laid = bytes(value)


def _splice(rng: random.Random, draft: Draft) -> None:
    value = draft.value
    at, to = sorted(rng.randrange(len(value)) for _ in range(2))
    draft.laid = value[:at] + value[to:] + value[at : at + rng.randrange(9)]


def _space(rng: random.Random, draft: Draft) -> None:
    gap = rng.choice([" ", "\n", "\t", "\r\n", "\f", "\u00a0", "//\n", "/**/"]).encode()
    draft.laid = draft.value.replace(b":", b":" + gap).replace(b",", gap + b",")


def _whole(rng: random.Random, draft: Draft) -> None:
    draft.laid = rng.choice(WHOLE)


def _tombstone(_: random.Random, draft: Draft) -> None:
    draft.is_tombstone = True


def _key(rng: random.Random, draft: Draft) -> None:
    key = draft.key or b"u"
    draft.key = rng.choice(
        [
            None,
            b"",
            key + b" ",
            key[:-1],
            key + b"\0",
            b'"' + key + b'"',
            b"\xff\xfe",
            b"k" * 100_000,
        ]
    )


def _headers(rng: random.Random, draft: Draft) -> None:
    names = ["", "dlq.reason", "dlq.offset", "dlq.redriven", "severity", "schema", "é" * 50, "x"]
    values = [None, b"", b"\xff\x00", b"1", b"-1", b"v" * 8_000]
    for _ in range(rng.choice([1, 3, 200])):
        draft.headers.append((rng.choice(names), rng.choice(values)))


def _carried(rng: random.Random, draft: Draft) -> None:
    size = rng.choice([*[0, 55, 600, 5_000] * 10, 1_020_000])
    name = rng.choice(["traceparent", "tracestate", "sent_at"])
    draft.headers += [(name, rng.randbytes(size)), (name, None)]


Mutation = Callable[[random.Random, Draft], None]

#: What no transaction survives, when nothing else happens to it.
REFUSED: Final[dict[str, Mutation]] = {
    "field dropped": _drop,
    "field renamed": _rename,
    "wrong type": _retype,
    "negative amount": _negative,
    "too large": _too_large,
    "not UTF-8": _not_utf8,
    "another encoding": _other_encoding,
    "truncated": _cut,
    "something appended": _append,
    "not a message at all": _whole,
    "tombstone": _tombstone,
    "wrong key": _key,
}
#: What may leave a transaction, and often does not.
ODD: Final[dict[str, Mutation]] = {
    "field duplicated": _duplicate,
    "any value in any field": _anything,
    "number at or past a limit": _number,
    "time at or past a limit": _time,
    "odd text": _text,
    "deep nesting": _nest,
    "long text": _swell,
    "thousands of fields": _many_fields,
    "bytes changed": _flip,
    "bytes moved": _splice,
    "odd space": _space,
    "odd headers": _headers,
    "odd carried headers": _carried,
}
MUTATIONS: Final = {**REFUSED, **ODD}


def mutated(rng: random.Random, key: bytes, value: bytes) -> Mutant:
    """A valid message with one to three mutations; large ones are rare."""
    fields = json.loads(value)
    fields["tx_id"] = "".join(rng.choices(string.ascii_lowercase, k=12))
    draft = Draft(key, [(name, json.dumps(content)) for name, content in fields.items()])
    kinds = [rng.choice(list(MUTATIONS)) for _ in range(rng.choice([1, 1, 2, 3]))]
    for kind in kinds:
        if draft.laid is None or (draft.laid and MUTATIONS[kind] in _BYTEWISE):
            MUTATIONS[kind](rng, draft)
    made = None if draft.is_tombstone else draft.value
    mutant = Mutant(tuple(kinds), draft.key, made, draft.headers)
    return mutant if mutant.size <= RECORD_BYTES_MAX else mutated(rng, key, value)


_BYTEWISE: Final = (_cut, _append, _flip, _splice, _tombstone, _key, _headers, _carried)
