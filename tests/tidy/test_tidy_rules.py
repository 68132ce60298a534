"""The rules themselves find what they are for; a rule that can't fail guards nothing."""

import pytest

from tests.tidy import tidy_rules as rules


def test_long_function_is_found() -> None:
    """71 lines are too many, 70 are not."""
    body = "\n".join(["    pass"] * 69)
    assert [] == rules.long_functions(f"def short():\n{body}\n")
    assert ["long: 71"] == rules.long_functions(f"def long():\n{body}\n    pass\n")


@pytest.mark.parametrize(
    "source",
    [
        "import time",
        "from time import monotonic",
        "import datetime as dt\ndt.datetime.now()",
        "from datetime import datetime\nnow = datetime.now",
        "import random",
        "import numpy as np\nnp.random.rand(3)",
        "import os\nos.environ['A']",
        "open('a')",
        "print('a')",
        "from logging import getLogger",
        "from concurrent.futures import ThreadPoolExecutor",
    ],
)
def test_impurity_is_found_under_any_name(source: str) -> None:
    """Aliases and from-imports don't hide a banned call; the finding says what to use instead."""
    findings = rules.banned_uses(source, rules.BANNED_IN_PURE)
    assert findings
    assert all(finding.count(": ") >= 2 for finding in findings)


@pytest.mark.parametrize(
    "source",
    [
        "from datetime import datetime\ndatetime.fromtimestamp(0)",
        "import numpy as np\nnp.random.default_rng(3)",
        "timestamp = event.time\nprofile.open()",
        "def score(time_ms): return time_ms",
    ],
)
def test_pure_code_passes(source: str) -> None:
    """Names that merely resemble a banned one are left alone."""
    assert [] == rules.banned_uses(source, rules.BANNED_IN_PURE)


def test_pickle_is_found() -> None:
    """No package reads pickles."""
    assert rules.banned_uses("from pickle import loads", rules.BANNED_EVERYWHERE)


@pytest.mark.parametrize("name", ["utils", "kafka_helpers", "common", "state_manager"])
def test_vague_names_are_found(name: str) -> None:
    """A file is one idea under its name; these are no ideas."""
    assert rules.VAGUE_NAME.search(name)


def test_vague_classes_are_found() -> None:
    """The same goes for classes."""
    assert ["StateManager"] == rules.vague_classes("class StateManager: ...\nclass State: ...")


@pytest.mark.parametrize("path", [f"/{'root'}/.venv", "cd /home/me/x", f'"/{"work"}/main"'])
def test_machine_paths_are_found(path: str) -> None:
    """A path of one machine works on no other."""
    assert rules.MACHINE_PATH.search(path)


@pytest.mark.parametrize("path", ["$HOME/home/x", "app/work/x", "https://example.org/home/a"])
def test_other_paths_pass(path: str) -> None:
    """Relative paths and addresses with such words in them are fine."""
    assert not rules.MACHINE_PATH.search(path)


def test_imports_are_resolved() -> None:
    """Absolute, from-package and relative imports all count, and what is named for later."""
    known = {"app.a", "app.b.c", "app.b.d", "app.e", "app.g"}
    source = "import app.a\nfrom app.b import c\nfrom . import d\nfrom ..e import f\nimport os"
    source += "\nlater = 'app.g:run'"
    assert known == rules.imported_modules(source, known, "app.b")
