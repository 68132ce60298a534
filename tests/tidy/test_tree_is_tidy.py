"""The tree keeps the house rules: sizes, purity, names, leftovers, layers."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.tidy import tidy_rules as rules

ROOT = Path(__file__).parents[2]
PURE = ("domain", "features", "scoring", "contract")

#: Files of the pure packages that may do what the rest may not, and why.
FILE_READERS = {
    "streamapp/scoring/artifact.py": ("open", "pathlib", "io"),  # loads model artifacts
    "streamapp/scoring/pipeline.py": ("pathlib",),  # names the artifact to load
    "streamapp/scoring/default_model.py": ("pathlib",),  # says where the shipped one is
    "streamapp/features/compiled.py": ("os", "pathlib"),  # a cache for each state of the sources
}

#: Modules that are entered from outside, not imported.
ENTRY_POINTS = {"streamapp.cli.main", "streamapp.engine.transport", "streamapp.__main__"}

#: Generated or given as they are: not ours to shorten.
NOT_SOURCE = {"LICENSE", "deploy/requirements.lock", "deploy/runtime.lock"}


def _files() -> list[str]:
    """Files of the tree that are tracked or about to be, as paths from its root."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    ).stdout.splitlines()
    return sorted({name for name in listing if (ROOT / name).is_file()})


def _text(name: str) -> str | None:
    """The file's text; None for binary files."""
    try:
        return (ROOT / name).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


FILES = _files()
TEXTS = {name: text for name in FILES if (text := _text(name)) is not None}
PYTHON = {name: text for name, text in TEXTS.items() if name.endswith(".py")}
SOURCE = {name: text for name, text in PYTHON.items() if name.startswith("streamapp/")}


def test_the_tree_is_seen() -> None:
    """The tests below look at real files, not at an empty list."""
    assert "streamapp/domain/verdict.py" in SOURCE
    assert "Makefile" in TEXTS
    assert set(FILE_READERS) <= set(SOURCE)


def test_files_are_short() -> None:
    """A file is one idea: at most 400 lines."""
    lengths = {name: text.count("\n") for name, text in PYTHON.items()}
    too_long = {name: n for name, n in lengths.items() if n > rules.FILE_LINES_MAX}
    assert {} == too_long, f"over {rules.FILE_LINES_MAX} lines; move one idea out: {too_long}"


def test_functions_are_short() -> None:
    """A function fits a screen: at most 70 lines."""
    too_long = {
        name: found for name, text in PYTHON.items() if (found := rules.long_functions(text))
    }
    assert {} == too_long, f"over {rules.FUNCTION_LINES_MAX} lines; split them: {too_long}"


def test_pure_packages_are_pure() -> None:
    """domain, features, scoring and contract know no clock, chance, file, log or thread."""
    findings = {}
    for name, text in SOURCE.items():
        if name.split("/")[1] in PURE:
            allowed = FILE_READERS.get(name, ())
            banned = {k: v for k, v in rules.BANNED_IN_PURE.items() if k not in allowed}
            findings[name] = rules.banned_uses(text, banned)
    impure = {name: found for name, found in findings.items() if found}
    assert findings
    assert {} == impure, _listed(impure)


def test_nothing_unsafe_is_used() -> None:
    """No pickle, no eval, no sleep without a condition, anywhere in the package."""
    findings = {
        n: f for n, t in SOURCE.items() if (f := rules.banned_uses(t, rules.BANNED_EVERYWHERE))
    }
    assert {} == findings, _listed(findings)


def test_names_say_what_things_are() -> None:
    """No utils, helpers, common or manager, in paths or classes."""
    paths = [n for n in FILES if any(rules.VAGUE_NAME.search(Path(p).stem) for p in Path(n).parts)]
    assert [] == paths, f"name each after the one thing it does: {paths}"
    classes = {name: found for name, text in PYTHON.items() if (found := rules.vague_classes(text))}
    assert {} == classes, f"name each after the one thing it does: {classes}"


@pytest.mark.parametrize(
    ("pattern", "mend"),
    [
        (rules.MARKER, "do it now, or file an issue"),
        (rules.REGISTRY_HOST, "let the reader's own client settings choose the registry"),
        (rules.MACHINE_PATH, "use a path relative to the file or take it as an argument"),
    ],
    ids=["leftover markers", "registry hosts", "paths of one machine"],
)
def test_no_leftovers(pattern: rules.re.Pattern[str], mend: str) -> None:
    """Nothing in the tree is left to do, bound to one registry or to one machine."""
    found = {
        name: [line.strip() for line in text.splitlines() if pattern.search(line)]
        for name, text in TEXTS.items()
        if name not in NOT_SOURCE and not name.startswith("tests/tidy/")
    }
    leftovers = {name: lines for name, lines in found.items() if lines}
    assert {} == leftovers, f"{mend}: {_listed(leftovers)}"


def test_locks_name_no_registry() -> None:
    """The lock files leave the choice of registry to the reader's pip settings."""
    for name in ("deploy/requirements.lock", "deploy/runtime.lock"):
        lines = [line for line in TEXTS[name].splitlines() if rules.REGISTRY_HOST.search(line)]
        assert [] == lines


def test_decisions_are_numbered_once() -> None:
    """They are known by their numbers."""
    places = [Path(name) for name in FILES if name.startswith("docs/decisions/")]
    assert list(range(1, len(places) + 1)) == [int(place.name[:4]) for place in places]


def test_every_module_is_imported() -> None:
    """A module that nobody imports is dead code, whatever its tests say."""
    modules = {_module(name): name for name in SOURCE}
    known = set(modules)
    used = {
        imported
        for module, name in modules.items()
        for imported in rules.imported_modules(SOURCE[name], known, _package(module, name))
        if imported != module
    }
    packages = {module for module, name in modules.items() if name.endswith("__init__.py")}
    unused = known - used - packages - ENTRY_POINTS
    assert set() == unused, f"import it where it belongs or remove it: {sorted(unused)}"


def test_entry_points_are_those_of_the_project() -> None:
    """The exceptions above are `python -m` and the entry points that pyproject.toml declares."""
    project = tomllib.loads(TEXTS["pyproject.toml"])["project"]
    declared = ["streamapp.__main__", *project["scripts"].values()]
    for group in project["entry-points"].values():
        declared += group.values()
    assert {target.partition(":")[0] for target in declared} == ENTRY_POINTS


def test_layers_hold() -> None:
    """Imports point downwards only, by the contracts in pyproject.toml."""
    outcome = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


def _module(name: str) -> str:
    return name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _package(module: str, name: str) -> str:
    return module if name.endswith("__init__.py") else module.rpartition(".")[0]


def _listed(findings: dict[str, list[str]]) -> str:
    return "\n".join(f"{name}: {finding}" for name, found in findings.items() for finding in found)
