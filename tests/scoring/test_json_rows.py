"""Rows are written by a compiled loop; they must be what `msgspec` encodes for the same values."""

import msgspec
import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from streamapp.domain.transaction import TIME_MS_MAX, rfc3339
from streamapp.domain.verdict import decode_verdict
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.byte_column import ByteColumn
from streamapp.scoring.json_rows import (
    DECIMALS,
    Integer,
    Number,
    Part,
    Rows,
    Template,
    Text,
    Time,
    When,
    json_values,
)
from streamapp.scoring.pipeline import Pipeline

INT64 = st.integers(-(2**63) + 1, 2**63 - 1)
NAMES = st.none() | st.text(st.characters(exclude_categories=["Cs"]))


def written(
    parts: list[Part],
    numbers: list[float] | None = None,
    integers: list[int] | None = None,
    texts: list[ByteColumn] | None = None,
) -> list[bytes]:
    """One column of each kind, as rows."""
    n = len(numbers or integers or (texts[0].starts if texts else []))
    columns = Rows(
        np.array(numbers or [0.0] * n).reshape(n, 1),
        np.array(integers or [0] * n, np.int64).reshape(n, 1),
        texts or [],
    )
    return list(Template(parts).write(columns))


@given(st.lists(st.floats(-1e300, 1e300), min_size=1, max_size=50))
@example([0.0, -0.0, 1e-6, -9e-6, 1e-5, 0.1, 1e9, 999999999.999999, -1e9, 1e16, 1e300, 5e-7])
def test_a_number_is_its_shortest_form_after_rounding(values: list[float]) -> None:
    """Of any size; minus nothing is nothing."""
    rounded = (np.round(np.array(values), DECIMALS) + 0.0).tolist()
    assert [msgspec.json.encode(v) for v in rounded] == written([Number(0)], numbers=rounded)


@given(st.lists(INT64, min_size=1, max_size=50))
@example([0, 9, 10, -1, 2**63 - 1, -(2**63) + 1, 10**18, 10**18 - 1])
def test_an_integer_has_all_its_digits(values: list[int]) -> None:
    """Of any size but the smallest of 64 bits."""
    assert [b"%d" % value for value in values] == written([Integer(0)], integers=values)


@given(st.lists(st.integers(0, TIME_MS_MAX), min_size=1, max_size=50))
@example([0, TIME_MS_MAX, 951_782_399_999, 951_782_400_000, 4_107_542_400_000])
def test_a_time_reads_as_the_contract_writes_it(values: list[int]) -> None:
    """From 1970 to 9999, leap days among them."""
    assert [rfc3339(v).encode() for v in values] == written([Time(0)], integers=values)


@given(st.lists(NAMES, min_size=1, max_size=20))
@example(['"', "\\", '\\"', "", None, "\x00,]", "é€😀"])
def test_a_text_is_escaped_and_found_again(values: list[str | None]) -> None:
    """Whatever quotes, backslashes, commas and brackets stand in it."""
    encoded = [msgspec.json.encode(value) for value in values]
    assert encoded == written([Text(0)], texts=[json_values(values)])


@given(st.lists(st.booleans(), min_size=1, max_size=20))
def test_parts_under_a_condition_are_null_where_it_fails(flags: list[bool]) -> None:
    """Only the parts under it; those that follow are there in any case."""
    parts: list[Part] = [When(0, [b"[", b"]"]), b";"]
    expected = [b"[];" if flag else b"null;" for flag in flags]
    assert expected == written(parts, integers=[int(flag) for flag in flags])


@given(st.lists(st.binary(max_size=100).map(lambda one: one * 3), max_size=5), st.booleans())
def test_constants_of_any_length_stand_where_they_are_put(
    constants: list[bytes], is_there: bool
) -> None:
    """Before, between and after what is put, in a condition inside another, and in no row's way."""
    inner: list[Part] = [*constants, When(0, [*constants, Integer(0)]), *constants]
    parts: list[Part] = [*constants, When(0, inner), Integer(0), *constants]
    around, flag = b"".join(constants), int(is_there)
    middle = around + around + b"1" + around if is_there else b"null"
    expected = around + middle + b"%d" % flag + around
    assert [expected] * 3 == written(parts, integers=[flag] * 3)


def test_texts_are_chosen_by_number() -> None:
    """Few texts for many rows."""
    column = ByteColumn.of([b"a", b"", b"ccc"]).take(np.array([2, 0, 1, 2]))
    assert [b"ccc", b"a", b"", b"ccc"] == written([Text(0)], texts=[column])


@given(st.lists(st.none() | st.binary()))
def test_rows_of_bytes_are_read_one_by_one(rows: list[bytes | None]) -> None:
    """Each by its number, None among them; all in order where there is none."""
    column = ByteColumn.of(rows)
    assert rows == [column[row] for row in range(len(column))]
    given_rows = [row or b"" for row in rows]
    assert given_rows == list(ByteColumn.of(given_rows))
    assert [len(row) for row in given_rows] == column.sizes.tolist()


@given(
    amount=st.floats(0, 1e12), name=st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
)
@example(amount=-0.0, name='"\\')
@example(amount=1e12, name="é")
@example(amount=0.1234567890123, name="")
def test_a_verdict_is_what_its_struct_encodes(
    model: ModelArtifact, amount: float, name: str
) -> None:
    """Read as verdict v1 and encoded again, a payload keeps every byte, duplicates too."""
    payment = {"tx_id": f"t{name}", "user_id": "ann", "amount": amount, "merchant_id": name}
    value = msgspec.json.encode(payment | {"timestamp": 1767603600001})
    payloads = [*Pipeline(model).process([b"ann", b"ann"], [value, value]).payloads]
    assert payloads == [msgspec.json.encode(decode_verdict(payload)) for payload in payloads]
    assert abs(amount) == decode_verdict(payloads[0]).amount
