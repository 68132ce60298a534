"""Follows the topic `control` for what is to be taken over: risk windows and cut-offs."""

import asyncio
from typing import Final

import structlog
from confluent_kafka import KafkaException

from streamapp.engine.risk_versions import RiskVersions
from streamapp.engine.severity_cutoffs import OfferedCutoffs
from streamapp.kafka.control import (
    CUTOFFS_KEY,
    RISK_WINDOWS_KEY,
    ControlFollower,
    announced_version,
)
from streamapp.kafka.metadata import TopicError
from streamapp.kafka.settings import KafkaSettings
from streamapp.scoring.risk_version import RiskVersionError
from streamapp.scoring.severity_budget import CutoffsError

log = structlog.get_logger()

#: Between two looks at the topic.
INTERVAL_S: Final = 2.0


async def follow(
    windows: RiskVersions | None, cutoffs: OfferedCutoffs, kafka: KafkaSettings, topic: str
) -> None:
    """Offer each version that is published, until cancelled.

    windows: None where none are to be taken over. A broker that does not answer and a file that
    can't be read are tried again: what is in force stays so meanwhile. The connection ends with the
    process.
    """
    follower: ControlFollower | None = None
    wanted: dict[bytes, bytes] = {}
    told = ""
    while True:
        try:
            if follower is None:
                follower = await asyncio.to_thread(ControlFollower, kafka, topic)
            wanted |= await asyncio.to_thread(follower.newest)
            _offer_cutoffs(cutoffs, wanted.pop(CUTOFFS_KEY, None))
            if windows is not None and RISK_WINDOWS_KEY in wanted:
                _offer_windows(windows, wanted[RISK_WINDOWS_KEY])
            wanted, told = {}, ""
        except (TopicError, KafkaException, RiskVersionError) as error:
            if str(error) != told:
                told = str(error)
                if isinstance(error, RiskVersionError):
                    log.error("risk_windows_unreadable", error=told)
                else:
                    log.warning("control_unreadable", error=told)
        await asyncio.sleep(INTERVAL_S)


def _offer_cutoffs(cutoffs: OfferedCutoffs, record: bytes | None) -> None:
    name = None if record is None else announced_version(CUTOFFS_KEY, record)
    if name is None:
        return
    try:
        cutoffs.offer(name)
    except CutoffsError as error:  # of a newer version: they never come right
        log.warning("severity_cutoffs_unreadable", error=str(error))


def _offer_windows(windows: RiskVersions, record: bytes) -> None:
    version = announced_version(RISK_WINDOWS_KEY, record)
    if version is not None:
        windows.offer(version)
        log.info("risk_windows_offered", version=version)
