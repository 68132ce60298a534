"""What is installed from a wheel is whole: data files and the model come along."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[2]
BUILD_INPUTS = ("pyproject.toml", "README.md", "LICENSE", "streamapp", "models")


def test_wheel_holds_all_data_files(tmp_path: Path) -> None:
    """Samples, migrations and the shipped model are in the wheel, not only in the checkout."""
    tree = tmp_path / "tree"
    tree.mkdir()
    for name in BUILD_INPUTS:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(source, tree / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(source, tree / name)
    pip_wheel = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run(
        [sys.executable, *pip_wheel, "--wheel-dir", tmp_path, tree], check=True, timeout=240
    )
    [wheel] = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    package = {path.relative_to(tree).as_posix() for path in tree.glob("streamapp/**/*")}
    model = {
        f"streamapp/scoring/{path.relative_to(tree).as_posix()}"
        for path in tree.glob("models/**/*")
    }
    files = {name for name in package | model if (tree / name).is_file()}
    assert "streamapp/scoring/models/default/manifest.json" in files
    assert set() == files - held
