"""The short form of the crash campaign; `make crash` is the long one."""

import random
from dataclasses import replace
from pathlib import Path

import pytest

from streamapp.broker import LocalBroker
from tests.crash import rows
from tests.crash.campaign import Campaign
from tests.servers.server import Server

pytestmark = pytest.mark.integration

KILLS_MIN = 20


@pytest.mark.timeout(1_200)
def test_killed_at_every_point_the_end_is_undisturbed(
    kafka_broker: LocalBroker, postgres: Server, topic_prefix: str, tmp_path: Path
) -> None:
    """Nothing lost, repeated or different in verdicts, state, offsets and sinks."""
    seed = random.SystemRandom().randrange(1_000_000)
    campaign = Campaign(kafka_broker, postgres.url, tmp_path, seed)
    try:
        for row in rows.short():
            campaign.run(replace(row, name=f"{row.name} {topic_prefix[-9:-1]}"))
        campaign.finish_checks()
    finally:
        campaign.close()
    failing = [result for result in campaign.results if not result.is_passed]
    assert [] == failing, f"seed {seed}: {[one.problem or one.findings for one in failing]}"
    assert sum(result.kills for result in campaign.results) >= KILLS_MIN
