"""Metrics of the API: named in one module, labelled with closed sets."""

import re

from streamapp.api import metrics
from streamapp.api.access import Scope
from tests.api.parts import Api
from tests.api.verdicts import arrived
from tests.sinks.verdicts import verdict

METRICS = [value for name, value in vars(metrics).items() if name.isupper()]


def test_names_and_labels() -> None:
    """None has a label that could name a user, a merchant, a key or an amount."""
    assert len(METRICS) > 8
    for one in METRICS:
        assert one._name.startswith("streamapp_api_")
        assert set(one._labelnames) <= {"route", "status", "limit"}


def test_a_route_is_its_template(api: Api) -> None:
    """What stands in a path never becomes a label."""
    api.live.take(arrived(verdict(1, tx_id="tx-of-somebody", user_id="somebody")))
    key = api.key(Scope.READ)
    for path in ("/v1/verdicts/tx-of-somebody", "/v1/users/somebody/verdicts", "/nobody/knows"):
        api.ask("GET", path, key)
    shown = api.ask("GET", "/metrics", key).text
    assert 'route="/v1/verdicts/{tx_id}"' in shown
    assert not re.search("somebody|nobody", shown)
