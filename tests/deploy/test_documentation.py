"""README and guides name only what exists: files, commands, targets, settings."""

import re
from pathlib import Path

import pytest

from streamapp.cli.main import app
from streamapp.cli.settings import CONFIG_FILE, known_variables
from tests.deploy.cli_tree import unknown_word
from tests.deploy.settings_reference import FILE, reference

ROOT = Path(__file__).parents[2]
GUIDES = {
    str(path.relative_to(ROOT)): path.read_text("utf-8")
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")]
}
MAKEFILE = (ROOT / "Makefile").read_text("utf-8")


def test_settings_reference_matches_code() -> None:
    """docs/settings.md lists every setting with its default."""
    assert FILE.read_text("utf-8") == reference(), "renew it with: make settings-reference"


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_links_lead_somewhere(name: str) -> None:
    """Each relative link points at a file of the tree."""
    targets = re.findall(r"\]\(([^)\s#]+)", GUIDES[name])
    local = [target for target in targets if "://" not in target]
    assert [] == [target for target in local if not (ROOT / name).parent.joinpath(target).exists()]


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_settings_named_exist(name: str) -> None:
    """Each STREAMAPP_ variable in the text is a setting."""
    named = set(re.findall(r"\bSTREAMAPP_[A-Z_]+[A-Z]\b", GUIDES[name]))
    tests_only = {variable for variable in named if variable.startswith("STREAMAPP_TEST_")}
    assert set() == named - tests_only - set(known_variables()) - {CONFIG_FILE}


@pytest.mark.parametrize("name", sorted(GUIDES))
def test_targets_named_exist(name: str) -> None:
    """Each `make target` in the text is a target of the Makefile."""
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", GUIDES[name], re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


@pytest.mark.parametrize("text", [*GUIDES.values(), MAKEFILE], ids=[*GUIDES, "Makefile"])
def test_commands_named_exist(text: str) -> None:
    """Each streamapp command in the text is a command."""
    commands = re.findall(r"(?:`|/)streamapp ((?:[a-z]+ ?)+)", text)
    assert [] == [words for words in commands if unknown_word(app, words.split())]
