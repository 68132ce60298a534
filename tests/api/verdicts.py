"""Verdicts to look up, and how they come to the API."""

import msgspec

from streamapp.api.feed import Arrived
from streamapp.api.line import Entry, entry_of
from streamapp.domain.verdict import Verdict


def entry(verdict: Verdict) -> Entry:
    """The verdict as it comes from its topic."""
    found = entry_of(msgspec.json.encode(verdict))
    assert found is not None
    return found


def arrived(*verdicts: Verdict) -> Arrived:
    """These verdicts at once."""
    return Arrived(entries=[entry(one) for one in verdicts])
