"""What a figure was measured on."""

import subprocess
from pathlib import Path

from benchmarks.machine import Use, commit_of


def test_only_code_makes_a_commit_dirty(tmp_path: Path) -> None:
    """Results, documents and files that are not tracked decide no figure; no git, no commit."""
    assert commit_of(tmp_path) == ""

    def git(*words: str) -> None:
        own = ("-c", "user.name=a", "-c", "user.email=a@b.example")
        subprocess.run(["git", *own, *words], cwd=tmp_path, check=True, capture_output=True)

    git("init", "--quiet")
    files = ["engine.py", "benchmarks/run.py", "benchmarks/results/a.json", "docs/a", "README.md"]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("before")
    git("add", "--all")
    git("commit", "--quiet", "--message", "first")
    clean = commit_of(tmp_path)
    assert len(clean) >= 7
    for name in (*files[2:], "new.txt"):
        (tmp_path / name).write_text("after")
    assert clean == commit_of(tmp_path) == commit_of(tmp_path / "benchmarks")
    for name in files[:2]:
        (tmp_path / name).write_text("after")
        assert f"{clean}-dirty" == commit_of(tmp_path / "benchmarks")
        (tmp_path / name).write_text("before")


def test_what_a_host_took_stands_beside_what_was_used() -> None:
    """Between two moments, as cores."""
    before = Use(10.0, 0, 0, {"worker": 1.0}, 0.5, 2.0, {})
    after = Use(14.0, 9, 9, {"worker": 3.0}, 0.5, 4.0, {})
    assert {"worker": 0.5, "others": 0.0, "stolen": 0.5} == (after - before).cores()
