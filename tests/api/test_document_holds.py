"""The document is what the API does: whatever is asked, no answer is undocumented, none is 5xx."""

import functools
import tempfile
from pathlib import Path
from typing import Any

import httpx
import msgspec
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from streamapp.api.access import Scope
from streamapp.engine.questions import PROFILE_PATH, WHAT_IF_PATH
from streamapp.features.profile import empty_profiles, seal
from streamapp.features.profile_view import view
from tests.api.parts import Api
from tests.api.verdicts import arrived
from tests.sinks.verdicts import verdict

#: Of each operation; all of them take some 20 s.
EXAMPLES = 40
OWNER = "http://10.0.0.1:6066"
CHECKS = [
    schemathesis.checks.not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
    response_headers_conformance,
]


@functools.cache
def _api() -> tuple[Api, str]:
    """An API with a valid key, some verdicts to find, an owner of profiles, and late scores."""
    api = Api(
        Path(tempfile.mkdtemp(prefix="streamapp-test-")),
        score_timeout_s=0.001,
        rate_per_s=1_000_000,
        rate_burst=1_000_000,
    )
    api.live.take(arrived(*(verdict(n, tx_id=str(n % 50), user_id="0") for n in range(60))))
    api.live.stopping.set()  # the stream of events would never end
    told = {"partition": 0, **view(seal(empty_profiles(1)[0]))}
    supposed = msgspec.json.encode(verdict(3))
    api.group.owners = dict.fromkeys(range(4), OWNER)
    api.group.answers[OWNER + PROFILE_PATH] = [httpx.Response(200, json=told)]
    api.group.answers[OWNER + WHAT_IF_PATH] = [httpx.Response(200, content=supposed)]
    return api, api.key(*Scope)


schema = schemathesis.openapi.from_asgi("/openapi.json", _api()[0].app)


@schema.parametrize()
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
def test_no_undocumented_answer(case: Any) -> None:
    """With a valid key, for requests that fit the document and for those that do not."""
    case.call_and_validate(headers={"Authorization": f"Bearer {_api()[1]}"}, checks=CHECKS)
