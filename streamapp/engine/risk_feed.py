"""Follows the topic `control` for risk windows to be taken over."""

import asyncio
from typing import Final

import structlog
from confluent_kafka import KafkaException

from streamapp.engine.risk_versions import RiskVersions
from streamapp.kafka.control import ControlFollower
from streamapp.kafka.metadata import TopicError
from streamapp.kafka.settings import KafkaSettings
from streamapp.scoring.risk_version import RiskVersionError

log = structlog.get_logger()

#: Between two looks at the topic.
INTERVAL_S: Final = 2.0


async def follow(versions: RiskVersions, kafka: KafkaSettings, topic: str) -> None:
    """Offer each version that is published, until cancelled.

    A broker that does not answer and a file that can't be read are tried again: what is in force
    stays so meanwhile. The connection ends with the process.
    """
    follower: ControlFollower | None = None
    wanted: str | None = None
    told = ""
    while True:
        try:
            if follower is None:
                follower = await asyncio.to_thread(ControlFollower, kafka, topic)
            wanted = await asyncio.to_thread(follower.risk_windows) or wanted
            if wanted is not None:
                versions.offer(wanted)
                log.info("risk_windows_offered", version=wanted)
                wanted, told = None, ""
        except (TopicError, KafkaException, RiskVersionError) as error:
            if str(error) != told:
                told = str(error)
                log.error("risk_windows_unreadable", error=told)
        await asyncio.sleep(INTERVAL_S)
