"""Payments in plain JSON to columns, by a compiled loop.

Sketch: the general decoder makes a Python object of each payment, and columns are made of those:
3 µs an event. Here it is 0.6, for what nearly all senders send: one flat object, its strings of
printable ASCII without escapes, its numbers without exponents, no field twice. What is otherwise,
and all that is to be refused, is left to `domain.decode`, which defines every result; what is read
here is equal to what it reads.
"""

from typing import Any, Final

import numpy as np
from msgspec import inspect
from numpy.typing import NDArray

from streamapp.domain.transaction import PAYLOAD_BYTES_MAX, TIME_MS_MAX, Transaction
from streamapp.features.compiled import kernel
from streamapp.features.name_hash import HASHED_BYTES_MAX, hashed

_TEXT, _CODE, _NUMBER, _TIME = range(4)
_FIELDS: Final = Transaction.__struct_fields__
_NAMES: Final = np.frombuffer("".join(_FIELDS).encode(), np.uint8)
_NAME_ENDS: Final = np.cumsum([len(name) for name in _FIELDS])
_TX, _USER, _AMOUNT = map(_FIELDS.index, ("tx_id", "user_id", "amount"))
_LATITUDE, _LONGITUDE = map(_FIELDS.index, ("latitude", "longitude"))
_HASHED: Final = ("user_id", "merchant_id", "merchant_category", "country", "device_id")
_, _MERCHANT, _CATEGORY, _COUNTRY, _DEVICE = map(_FIELDS.index, _HASHED)
_IS_HASHED: Final = np.array([name in _HASHED for name in _FIELDS])

#: Of the `null` that stands behind the data.
NULL_BYTES: Final = 4

#: Fields whose text a verdict carries on, in the order of `spans`.
CARRIED: Final = ("tx_id", "user_id", "currency", "merchant_id")
_SPAN_OF: Final = np.array(
    [CARRIED.index(name) if name in CARRIED else -1 for name in _FIELDS], np.int64
)
_DAY_MS: Final = 86_400_000
_NO_ZONE: Final = _DAY_MS
_NO_TIME: Final = -1
#: A mantissa up to 2**53 and a power of ten up to 10**22 are exact, so their quotient is rounded
#: once, as any decoder must.
_MANTISSA_MAX: Final = 2**53
_DIGITS_MAX: Final = 18
_POWERS: Final = np.array([10.0**power for power in range(_DIGITS_MAX + 1)])


def _rule(field: inspect.Field) -> tuple[int, float, float]:
    """What is asked of a field: its kind, and the bounds of its length or value."""
    declared = field.type.type if isinstance(field.type, inspect.Metadata) else field.type
    choices = declared.types if isinstance(declared, inspect.UnionType) else (declared,)
    bare = [one.type if isinstance(one, inspect.Metadata) else one for one in choices]
    [*_, wanted] = [one for one in bare if not isinstance(one, inspect.NoneType)]
    match wanted:
        case inspect.StrType(min_length=least, max_length=most, pattern=None) if most:
            assert most <= HASHED_BYTES_MAX
            return _TEXT, least or 0, most
        case inspect.StrType(max_length=size, pattern=pattern) if size:
            assert pattern == f"^[A-Z]{{{size}}}$"
            return _CODE, size, size
        case inspect.FloatType(ge=least, le=most) if least is not None and most is not None:
            return _NUMBER, least, most
        case inspect.IntType(ge=0, le=most) if most == TIME_MS_MAX:
            return _TIME, 0, most
    raise AssertionError(f"no rule for {field.name}: {wanted}")


def _rules() -> tuple[NDArray[np.int64], NDArray[np.float64], int]:
    declared = inspect.type_info(Transaction)
    assert isinstance(declared, inspect.StructType)
    found = [_rule(field) for field in declared.fields]
    required = sum(1 << place for place, one in enumerate(declared.fields) if one.required)
    kinds = np.array([kind for kind, _, _ in found], np.int64)
    return kinds, np.array([bounds for _, *bounds in found], np.float64), required


_KINDS, _BOUNDS, _REQUIRED = _rules()


def read_plain(
    keys: Any, values: Any, events: NDArray[Any], spans: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Read the plain ones of n payments; which they are.

    keys, values: (data, starts, ends) of columns; a start of -1 is none. events (n, of dtype EVENT)
    gets all but offset and local time; spans (n, 4, 2) where each of CARRIED stands in the values'
    data, quotes included; of what there is none, the NULL_BYTES behind the data.
    """
    is_plain = np.zeros(len(events), np.bool_)
    _read(keys, values, events, spans, is_plain)
    return is_plain


@kernel
def _read(keys: Any, values: Any, events: Any, spans: Any, is_plain: Any) -> None:
    data, starts, ends = values
    for row in range(starts.size):
        size = ends[row] - starts[row]
        if starts[row] < 0 or size > PAYLOAD_BYTES_MAX:
            continue
        if _read_object(data, starts[row], ends[row], events[row], spans[row]):
            user = spans[row, 1]
            _point_behind(data.size, spans[row])
            is_plain[row] = _is_same(keys, row, data, user[0] + 1, user[1] - 1)


@kernel
def _point_behind(end: int, span: Any) -> None:
    for i in range(len(span)):
        if span[i, 0] < 0:
            span[i, 0], span[i, 1] = end, end + NULL_BYTES


@kernel
def _is_same(column: Any, row: int, data: Any, at: int, end: int) -> bool:
    """Whether a row of a column has these bytes."""
    own, start = column[0], column[1][row]
    if start < 0 or column[2][row] - start != end - at:
        return False
    for i in range(end - at):  # noqa: SIM110  # loops are compiled, generators are not
        if own[start + i] != data[at + i]:
            return False
    return True


@kernel
def _read_object(data: Any, at: int, end: int, event: Any, span: Any) -> bool:
    """Read one object; False where it is not plain, with nothing to be relied on."""
    event.latitude = event.longitude = np.nan
    event.merchant = event.category = event.country = event.device = 0
    span[:] = -1
    seen = 0
    at = _skip_space(data, at, end)
    if at >= end or data[at] != 123:  # {
        return False
    while True:
        at = _skip_space(data, at + 1, end)
        stop = _text_end(data, at, end)
        if stop < 0:
            return False
        field = _field(data, at + 1, stop)
        if field >= 0:
            if seen >> field & 1:
                return False
            seen |= 1 << field
        at = _skip_space(data, stop + 1, end)
        if at >= end or data[at] != 58:  # :
            return False
        at = _read_value(data, _skip_space(data, at + 1, end), end, field, event, span)
        at = _skip_space(data, at, end) if at >= 0 else end
        if at >= end or data[at] != 44:  # ,
            break
    is_ended = at < end and data[at] == 125 and _skip_space(data, at + 1, end) == end  # }
    return is_ended and seen & _REQUIRED == _REQUIRED


@kernel
def _skip_space(data: Any, at: int, end: int) -> int:
    while at < end and (data[at] == 32 or 9 <= data[at] <= 10 or data[at] == 13):
        at += 1
    return at


@kernel
def _text_end(data: Any, at: int, end: int) -> int:
    """Where the closing quote of the text that opens here stands; -1 for no plain text."""
    if at >= end or data[at] != 34:
        return -1
    at += 1
    while at < end and 32 <= data[at] < 127 and data[at] != 92:
        if data[at] == 34:
            return at
        at += 1
    return -1


@kernel
def _field(data: Any, at: int, end: int) -> int:
    """Number of the field of this name, -1 for one that nobody reads."""
    start = 0
    for field in range(_NAME_ENDS.size):
        if _NAME_ENDS[field] - start == end - at:
            i = 0
            while i < end - at and _NAMES[start + i] == data[at + i]:
                i += 1
            if i == end - at:
                return field
        start = _NAME_ENDS[field]
    return -1


@kernel
def _read_value(data: Any, at: int, end: int, field: int, event: Any, span: Any) -> int:
    """Read a field's value; where it ends, or -1."""
    if at >= end:
        return -1
    if data[at] == 34:
        stop = _text_end(data, at, end)
        is_read = stop >= 0 and _take_text(data, at, stop + 1, field, event, span)
        return stop + 1 if is_read else -1
    if data[at] == 110:  # null
        is_null = at + 4 <= end and data[at + 1] == 117 and data[at + 2] == data[at + 3] == 108
        is_missing = field >= 0 and _REQUIRED >> field & 1
        return at + 4 if is_null and not is_missing else -1
    stop, mantissa, decimals = _number(data, at, end)
    is_read = stop >= 0 and _take_number(mantissa, decimals, data[at] == 45, field, event)
    return stop if is_read else -1


@kernel
def _number(data: Any, at: int, end: int) -> Any:
    """Where a number ends (-1 for no plain one), its digits without sign, and how many decimals."""
    if data[at] == 45:
        at += 1
    first, mantissa, point = at, 0, -1
    while at < end and (48 <= data[at] <= 57 or (data[at] == 46 and point < 0 and at > first)):
        if data[at] == 46:
            point = at
        elif at - first >= _DIGITS_MAX:
            return -1, 0, 0
        else:
            mantissa = 10 * mantissa + int(data[at] - 48)
        at += 1
    whole = (point if point >= 0 else at) - first
    decimals = at - point - 1 if point >= 0 else 0
    is_cut = whole == 0 or (whole > 1 and data[first] == 48) or (point >= 0 and decimals == 0)
    if is_cut or mantissa > _MANTISSA_MAX or decimals > _DIGITS_MAX:
        return -1, 0, 0
    if at < end and (data[at] | 32) == 101:  # e
        return -1, 0, 0
    return at, mantissa, decimals


@kernel
def _take_number(mantissa: int, decimals: int, is_negative: bool, field: int, event: Any) -> bool:
    if field < 0:
        return True
    if _KINDS[field] == _TIME:
        event.time_ms = mantissa
        return decimals == 0 and not is_negative and mantissa <= _BOUNDS[field, 1]
    if is_negative and mantissa == decimals == 0:  # an integer has no -0
        return False
    value = mantissa / _POWERS[decimals]
    if is_negative:
        value = -value
    if _KINDS[field] != _NUMBER or not _BOUNDS[field, 0] <= value <= _BOUNDS[field, 1]:
        return False
    if field == _AMOUNT:
        event.amount = abs(value)
    elif field == _LATITUDE:
        event.latitude = value
    elif field == _LONGITUDE:
        event.longitude = value
    return True


@kernel
def _take_text(data: Any, at: int, end: int, field: int, event: Any, span: Any) -> bool:
    """Take a text with its quotes."""
    if field < 0:
        return True
    start, size = at + 1, end - at - 2
    if _KINDS[field] == _TIME:
        event.time_ms = _time_ms(data, start, size)
        return bool(event.time_ms != _NO_TIME)
    if _KINDS[field] == _NUMBER or not _BOUNDS[field, 0] <= size <= _BOUNDS[field, 1]:
        return False
    if _KINDS[field] == _CODE and not _is_code(data, start, start + size):
        return False
    if _SPAN_OF[field] >= 0:
        span[_SPAN_OF[field], 0], span[_SPAN_OF[field], 1] = at, end
    if field == _TX:
        event.tx = hashed(data, start, size)
    elif _IS_HASHED[field]:
        _take_name(_name_hash(data, start, size), field, event)
    return True


@kernel
def _is_code(data: Any, at: int, end: int) -> bool:
    for i in range(at, end):  # noqa: SIM110  # as above
        if not 65 <= data[i] <= 90:  # A to Z
            return False
    return True


@kernel
def _take_name(name: Any, field: int, event: Any) -> None:
    if field == _USER:
        event.user = name
    elif field == _MERCHANT:
        event.merchant = name
    elif field == _CATEGORY:
        event.category = name
    elif field == _COUNTRY:
        event.country = name
    elif field == _DEVICE:
        event.device = name


@kernel
def _name_hash(data: Any, at: int, size: int) -> Any:
    """As `columns.name_hash`."""
    if size == 0:
        return np.uint32(0)
    return np.uint32(hashed(data, at, size) % np.uint64(0xFFFFFFFF) + np.uint64(1))


@kernel
def _time_ms(data: Any, at: int, size: int) -> int:
    """Epoch milliseconds of `2026-01-05T09:00:00Z`; -1 for what is none, or of a rarer form.

    Seconds may have 3 or 6 decimals, and an offset like +01:00 may stand for the Z.
    """
    end = at + size
    if size < 20 or data[at + 4] != 45 or data[at + 7] != 45 or data[at + 10] != 84:  # - - T
        return -1
    day_ms, of_day_ms = _date_ms(data, at), _clock_ms(data, at + 11)
    if day_ms < 0 or of_day_ms < 0 or data[at + 16] != 58:  # :
        return -1
    seconds, at = _digits(data, at + 17, 2), at + 19
    millis = 0
    if data[at] == 46:
        millis = _digits(data, at + 1, 3) if at + 4 < end else -1
        at += 4
        if at < end and 48 <= data[at] <= 57:
            if at + 3 >= end or _digits(data, at, 3) < 0:
                return -1
            at += 3
    zone_ms = _zone_ms(data, at, end)
    if not 0 <= seconds < 60 or millis < 0 or zone_ms == _NO_ZONE:
        return -1
    return day_ms + of_day_ms + seconds * 1000 + millis - zone_ms


@kernel
def _date_ms(data: Any, at: int) -> int:
    """Of 2026-01-05: its beginning; -1 for no day, or one near the calendar's ends."""
    year, month = _digits(data, at, 4), _digits(data, at + 5, 2)
    day = _digits(data, at + 8, 2)
    if not 1970 < year < 9999 or not 1 <= month <= 12 or not 1 <= day <= _days_of(year, month):
        return -1
    return _day_number(year, month, day) * _DAY_MS


@kernel
def _clock_ms(data: Any, at: int) -> int:
    """Of 09:00; -1 for no time of day."""
    hour, minute = _digits(data, at, 2), _digits(data, at + 3, 2)
    if not 0 <= hour < 24 or not 0 <= minute < 60 or data[at + 2] != 58:  # :
        return -1
    return (hour * 60 + minute) * 60_000


@kernel
def _zone_ms(data: Any, at: int, end: int) -> int:
    """How far ahead of UTC; _NO_ZONE where it is not said."""
    if at + 1 == end and data[at] == 90:  # Z
        return 0
    if at + 6 != end or (data[at] != 43 and data[at] != 45):  # + -
        return _NO_ZONE
    ahead_ms = _clock_ms(data, at + 1)
    if ahead_ms < 0:
        return _NO_ZONE
    return ahead_ms if data[at] == 43 else -ahead_ms


@kernel
def _digits(data: Any, at: int, count: int) -> int:
    """A number of so many digits, -1 where one of them is none."""
    value = 0
    for i in range(at, at + count):
        if not 48 <= data[i] <= 57:
            return -1
        value = 10 * value + int(data[i] - 48)
    return value


@kernel
def _days_of(year: int, month: int) -> int:
    if month == 2:
        return 29 if year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) else 28
    return 30 if month in (4, 6, 9, 11) else 31


@kernel
def _day_number(year: int, month: int, day: int) -> int:
    """Days since 1970 (Hinnant, "chrono-compatible low-level date algorithms")."""
    year -= month <= 2
    of_era = year % 400
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    of_era = of_era * 365 + of_era // 4 - of_era // 100 + of_year
    return year // 400 * 146_097 + of_era - 719_468
