"""The jars of Apache Kafka: resolved once by Maven from the pom beside this file, then cached."""

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from streamapp.broker.errors import BrokerError

POM = Path(__file__).with_name("pom.xml")
DOWNLOAD_TIMEOUT_S = 600.0
"""45 jars of 43 MB took 5 s here; a slow line may take minutes."""


def kafka_version() -> str:
    """The version of Kafka that the pom names."""
    found = re.search(r"<kafka\.version>(.+?)</kafka\.version>", POM.read_text())
    assert found, "the pom names no kafka.version"
    return found.group(1)


def kafka_jars() -> Path:
    """The directory that holds Kafka and all it needs; asks Maven only if it isn't there yet."""
    digest = hashlib.sha256(POM.read_bytes()).hexdigest()[:8]
    jars = _cache_dir() / f"kafka-{kafka_version()}-{digest}"
    if not jars.is_dir():
        _fill(jars)
    return jars


def _cache_dir() -> Path:
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "streamapp"


def _fill(jars: Path) -> None:
    """Download beside the place and move there at the end, so that half a set is never seen."""
    jars.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=jars.parent) as unfinished:
        copied = Path(unfinished) / "jars"
        _copy_dependencies(copied)
        try:
            copied.rename(jars)
        except OSError:
            if not jars.is_dir():  # else another process was first, with the same jars
                raise


def _copy_dependencies(target: Path) -> None:
    maven = shutil.which("mvn")
    if maven is None:
        raise BrokerError(
            "Maven (mvn) is not installed and fetches Kafka the first time: on Debian run "
            "`apt-get install maven`, or choose --kind noida"
        )
    argv = [maven, "--batch-mode", "--quiet", "--file", str(POM)]
    argv += [
        "dependency:copy-dependencies",
        "-DincludeScope=runtime",
        f"-DoutputDirectory={target}",
    ]
    try:
        done = subprocess.run(  # noqa: S603 - our own arguments
            argv, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BrokerError(
            f"Maven did not fetch Kafka within {DOWNLOAD_TIMEOUT_S:.0f} s: check the network"
        ) from error
    if done.returncode != 0:
        told = (done.stdout + done.stderr).strip().splitlines() or ["it said nothing"]
        raise BrokerError(f"Maven could not fetch Kafka; check network and proxy: {told[0]}")
