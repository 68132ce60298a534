"""How long a broker gathers records before it answers a fetch."""

from typing import Final

from streamapp.engine.settings import GuaranteeWish

#: A broker answers the requests of a connection in their order, so what is asked at a rebalance
#: waits behind a fetch that waits for records.
FETCH_WAIT_MS: Final = 100

#: While records flow, the broker gathers those of all partitions for twice as long as scoring the
#: last ones took, up to this: each batch has its price, and with it the latency of those after it.
_GATHER_MS_MAX: Final = 24
#: Up to this where each fetch leads to a transaction of each partition: they cost the broker more
#: than the worker, whose CPU time says nothing of that.
_GATHER_FOR_TRANSACTIONS_MS_MAX: Final = 48
#: So many are handed out at once: under load nothing is waited for.
GATHER_BYTES_MAX: Final = 64 * 1024
#: Without records for so long, the next one is handed out at once.
CALM_AFTER_S: Final = 0.05


def gather_ms_max(guarantee: GuaranteeWish) -> int:
    """The longest that records are gathered."""
    if guarantee == "at_least_once":
        return _GATHER_MS_MAX
    return _GATHER_FOR_TRANSACTIONS_MS_MAX


def gather_ms(spent_s: float, longest_ms: int) -> int:
    """How long to have records gathered after scoring the last ones took `spent_s` of CPU time."""
    return max(1, min(round(2_000 * spent_s), longest_ms))
