"""A log of the PaySim simulator as a recording for `streamapp evaluate`.

    python -m benchmarks.paysim rawLog.csv payments.parquet

PaySim (Lopez-Rojas, Elmir, Axelsson, EMSS 2016) plays a mobile money service: accounts pay in, pay
out and transfer, and fraudsters empty accounts. A step is an hour; payments of an hour keep their
order and get its beginning as time, since the log says no more.
"""

from pathlib import Path
from typing import Annotated, Final

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet
import typer

#: Step 1 is the first hour of this day: a Monday, as good as any.
_START_MS: Final = 1_704_067_200_000
_HOUR_MS: Final = 3_600_000


def main(
    log: Annotated[Path, typer.Argument(help="rawLog.csv of a run, or the public file.")],
    recording: Annotated[Path, typer.Argument(help="Where the recording goes, .parquet.")],
) -> None:
    """Convert, and say how many payments and frauds there are."""
    payments = converted(pyarrow.csv.read_csv(log))
    pyarrow.parquet.write_table(payments, recording)
    frauds = pc.sum(payments["is_fraud"]).as_py()
    print(f"{len(payments):,} payments, {frauds:,} fraud")


def converted(log: pa.Table) -> pa.Table:
    """The columns a recording has. What they call type is `action` in logs of later versions."""
    kind = "action" if "action" in log.column_names else "type"
    hours = pc.subtract(log["step"].cast(pa.int64()), 1)
    times = pc.add(pc.multiply(hours, _HOUR_MS), _START_MS)
    return pa.table(
        {
            "tx_id": pa.array(range(len(log)), pa.int64()),
            "user_id": log["nameOrig"],
            "merchant_id": log["nameDest"],
            "merchant_category": log[kind],
            "amount": log["amount"].cast(pa.float64()),
            "timestamp": times.cast(pa.timestamp("ms")),
            "is_fraud": log["isFraud"].cast(pa.int8()),
        }
    )


if __name__ == "__main__":
    typer.run(main)
