"""What a log line, a metric or a span must never hold, made recognisable in what tests send."""

import atexit
import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from streamapp.replay.sample import NAMES, sample

#: Added to the sample's amounts, which are of whole cents.
_AMOUNT_MARK: Final = 0.0007

_FORBIDDEN: Final = {
    "user": re.compile(r"(payer|user)-\d+|user-not-to-be-logged"),
    # Durations are logged to a thousandth at most; times of day have a colon before their seconds.
    "amount": re.compile(r"(?<!\d:)(?<![\d.])(\d+\.\d\d07|1234\.5|9173\.42)(?!\d)"),
    "API key": re.compile(r"sak_[A-Za-z0-9]+_[\w-]{20,}"),
    "token": re.compile(r"eyJ[\w-]+\.eyJ[\w-]+"),
    "password": re.compile(r"://[^/\s:@\"]*:[^@\s/\"]+@"),
    "private key": re.compile(r"BEGIN [A-Z ]*PRIVATE KEY"),
}

#: The one who starts a console is told its address, key included: no log, though in the same file.
_PRINTED: Final = re.compile(r"^.*/console#key=.*$", re.MULTILINE)

#: A sample's value in the text format of Prometheus: a sum of times may look like anything.
_VALUE: Final = re.compile(r" [^ ]+$", re.MULTILINE)


@cache
def payments(name: str = NAMES[0]) -> Path:
    """A sample with recognisable users and amounts, for the time of this process."""
    table = pq.read_table(sample(name))
    users = pc.binary_join_element_wise("payer", table["user_id"].cast(pa.string()), "-")
    amounts = pa.array(np.round(table["amount"].to_numpy() + _AMOUNT_MARK, 4))
    for field, column in (("user_id", users), ("amount", amounts)):
        table = table.set_column(table.schema.get_field_index(field), field, column)
    directory = Path(tempfile.mkdtemp(prefix="streamapp-test-"))
    atexit.register(shutil.rmtree, directory, ignore_errors=True)
    pq.write_table(table, directory / "payments.parquet")
    return directory / "payments.parquet"


def leaks(text: str) -> Iterator[str]:
    """What it holds and must not: kind and text, each once."""
    looked_at = _PRINTED.sub("", text)
    for kind, pattern in _FORBIDDEN.items():
        for found in sorted({match[0] for match in pattern.finditer(looked_at)}):
            yield f"{kind} {found}"


def leaks_of_metrics(page: str) -> Iterator[str]:
    """The same for a page of /metrics, its numbers left out."""
    return leaks(_VALUE.sub("", page))


def leaks_of_span(span: dict[str, Any]) -> Iterator[str]:
    """The same for an exported span, its times left out."""
    kept = {name: value for name, value in span.items() if not name.endswith("_time")}
    return leaks(json.dumps(kept))
