"""The lock files hold what pyproject.toml asks for, for everyone, with hashes."""

import re
import tomllib
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PIN = re.compile(r"^([a-z0-9-]+)==([^ ;]+).*\\$", re.MULTILINE)


def _pins(name: str) -> dict[str, set[Version]]:
    """Package → versions; a package has several where they depend on the Python version."""
    pins: dict[str, set[Version]] = {}
    for package, version in PIN.findall((ROOT / "deploy" / name).read_text("utf-8")):
        pins.setdefault(package, set()).add(Version(version))
    return pins


def _unmet(requirements: list[str], pins: dict[str, set[Version]]) -> list[str]:
    return [
        text
        for text in requirements
        if not (versions := pins.get(canonicalize_name(Requirement(text).name)))
        or not all(version in Requirement(text).specifier for version in versions)
    ]


def test_developer_lock_meets_all_requirements() -> None:
    """What is added to pyproject.toml is added to the lock: run `make lock`."""
    wanted = [
        *PROJECT["dependencies"],
        *PROJECT["optional-dependencies"]["dev"],
        *PROJECT["optional-dependencies"]["api"],
        *PROJECT["optional-dependencies"]["otel"],
        "setuptools>=77",
    ]
    assert [] == _unmet(wanted, _pins("requirements.lock"))


def test_runtime_lock_meets_what_the_image_needs() -> None:
    """The image gets all it imports, without the developers' tools: run `make lock`."""
    pins = _pins("runtime.lock")
    extras = PROJECT["optional-dependencies"]
    wanted = [*PROJECT["dependencies"], *extras["api"], *extras["otel"], "setuptools>=77"]
    assert [] == _unmet(wanted, pins)
    assert not {"pytest", "mypy", "ruff"} & set(pins)


def test_both_locks_name_the_same_versions() -> None:
    """What was tested is what is shipped: run `make lock`."""
    developers = _pins("requirements.lock")
    runtime = _pins("runtime.lock")
    assert runtime == {package: developers[package] for package in runtime}


def test_every_pin_has_hashes() -> None:
    """pip refuses a file that was swapped under the same version."""
    for name in ("requirements.lock", "runtime.lock"):
        text = (ROOT / "deploy" / name).read_text("utf-8")
        pins = re.findall(r"^[a-z0-9-]+==.*$(?=(\n    --hash=sha256:[0-9a-f]{64})?)", text, re.M)
        assert pins
        assert all(pins)
