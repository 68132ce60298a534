"""An artifact comes back as it was saved, or not at all."""

import dataclasses
import hashlib
import io
import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from streamapp.features.contract import CONTRACT_VERSION
from streamapp.lifecycle.fitting import FitSettings, fit
from streamapp.scoring.artifact import MEMBERS, MODES, ArtifactError, ModelArtifact, load, save

NAMES = ("log_amount", "flag", "velocity", "constant")
SETTINGS = FitSettings(
    forest_trees=10,
    forest_samples=64,
    half_space_trees=4,
    half_space_height=4,
    half_space_window=50,
    mode_rows_min=200,
)


def fitted(seed: int = 3, **changes: object) -> ModelArtifact:
    rng = np.random.default_rng(1)
    rows = rng.normal(size=(2_000, 4))
    rows[:, 1] = rows[:, 1] > 3
    rows[:, 3] = 7.0
    arguments = {
        "rows": rows,
        "feature_names": NAMES,
        "users": np.arange(2_000, dtype=np.uint32),
        "is_cold": rng.random(2_000) < 0.3,
        "partitions": [np.arange(0, 2_000, 2), np.arange(1, 2_000, 2)],
        "inputs": ("log_amount", "velocity", "flag"),
        "feature_contract": CONTRACT_VERSION,
        "global_amount_limit": 12_345.678,
        "seed": seed,
        "description": "noise",
        "settings": SETTINGS,
    } | changes
    return fit(**arguments)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def artifact() -> ModelArtifact:
    return fitted()


@pytest.fixture
def saved(artifact: ModelArtifact, tmp_path: Path) -> Path:
    directory = tmp_path / "model"
    save(artifact, directory)
    return directory


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(directory.iterdir())}


def rewrite(directory: Path, change: Callable[[dict], None]) -> None:
    """Change the manifest and give it the version that fits the change, as a forger would."""
    manifest = json.loads((directory / "manifest.json").read_text())
    change(manifest)
    manifest["version"] = ""
    (directory / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError) as refusal:
        load(directory)
    digest = re.search(r"should be (m-[0-9a-f]{12})", str(refusal.value))
    if digest:
        manifest["version"] = digest[1]
        (directory / "manifest.json").write_text(json.dumps(manifest))


def replace_array(directory: Path, name: str, array: np.ndarray) -> None:
    """Put another array in place, with a manifest that vouches for it."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, array, version=(1, 0))
    payload = buffer.getvalue()
    (directory / name).write_bytes(payload)
    stated = {"sha256": hashlib.sha256(payload).hexdigest(), "bytes": len(payload)}
    rewrite(directory, lambda manifest: manifest["files"].update({name: stated}))


def test_what_is_loaded_scores_as_what_was_saved(artifact: ModelArtifact, saved: Path) -> None:
    """Every array, curve and number comes back with the same bits."""
    loaded = load(saved)
    assert artifact.version == loaded.version
    assert artifact.training == loaded.training
    assert (artifact.feature_names, artifact.inputs) == (loaded.feature_names, loaded.inputs)
    assert artifact.global_amount_limit == loaded.global_amount_limit
    rows = np.random.default_rng(2).normal(size=(300, 4))
    narrow = rows.astype(np.float32)
    assert artifact.forest.score(narrow).tobytes() == loaded.forest.score(narrow).tobytes()
    assert artifact.half_space_trees.fingerprint == loaded.half_space_trees.fingerprint
    assert artifact.typical.tobytes() == loaded.typical.tobytes()
    raw = np.linspace(-1, 2, 500)
    for mode in MODES:
        for member in MEMBERS:
            before = getattr(artifact.curves[mode], member).log_tail(raw)
            assert before.tobytes() == getattr(loaded.curves[mode], member).log_tail(raw).tobytes()


def test_the_same_training_saves_the_same_bytes(saved: Path, tmp_path: Path) -> None:
    """Fitting and saving are deterministic, and loading and saving again changes nothing."""
    save(fitted(), tmp_path / "again")
    save(load(saved), tmp_path / "copy")
    assert contents(saved) == contents(tmp_path / "again") == contents(tmp_path / "copy")


def test_another_seed_is_another_version(artifact: ModelArtifact) -> None:
    """The version follows the content."""
    assert artifact.version != fitted(seed=4).version
    assert artifact.version != dataclasses.replace(artifact, global_amount_limit=1.0).version


def test_every_changed_byte_is_noticed(saved: Path) -> None:
    """A flipped bit in any array file names that file and the mend."""
    for path in sorted(saved.glob("*.npy")):
        payload = path.read_bytes()
        path.write_bytes(payload[:-1] + bytes([payload[-1] ^ 1]))
        with pytest.raises(ArtifactError, match=f"{path.name}: SHA-256 .*train the model again"):
            load(saved)
        path.write_bytes(payload)
    load(saved)


def test_a_changed_manifest_is_noticed(saved: Path) -> None:
    """The version is a digest of the manifest, so a changed number gives it away."""
    manifest = saved / "manifest.json"
    manifest.write_text(manifest.read_text().replace("12345.678", "99999.0"))
    with pytest.raises(ArtifactError, match=r"manifest\.json: version"):
        load(saved)


def test_a_model_for_other_features_is_refused(tmp_path: Path) -> None:
    """It would score, and its verdicts would name a contract that did not make them."""
    save(fitted(feature_contract="0"), tmp_path)
    with pytest.raises(ArtifactError, match=r"feature contract 0, .* train the model again"):
        load(tmp_path)


def test_a_missing_file_is_named(saved: Path) -> None:
    """A lost array and a lost manifest each say their name."""
    (saved / "typical.npy").unlink()
    with pytest.raises(ArtifactError, match=r"typical\.npy: there is no such file"):
        load(saved)
    (saved / "manifest.json").unlink()
    with pytest.raises(ArtifactError, match=r"manifest\.json: there is no such file"):
        load(saved)


def test_an_unknown_array_file_is_refused_and_a_model_card_is_not(saved: Path) -> None:
    """Arrays nobody vouches for don't belong there; words about the model do."""
    (saved / "MODEL_CARD.md").write_text("# Model")
    load(saved)
    (saved / "extra.npy").write_bytes(b"")
    with pytest.raises(ArtifactError, match=r"unknown files \['extra.npy'\]"):
        load(saved)


@pytest.mark.parametrize("name", ["../outside.npy", "/etc/passwd", "other.npy"])
def test_a_manifest_cannot_point_elsewhere(saved: Path, name: str) -> None:
    """Names of files are a closed set."""
    rewrite(
        saved,
        lambda manifest: manifest["files"].update({name: manifest["files"]["typical.npy"]}),
    )
    with pytest.raises(ArtifactError, match="unknown files"):
        load(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda manifest: manifest.update(format=1),
        lambda manifest: manifest.update(surprise=1),
        lambda manifest: manifest.pop("inputs"),
        lambda manifest: manifest["files"]["typical.npy"].update(bytes=10**12),
        lambda manifest: manifest["files"]["typical.npy"].update(sha256="0"),
    ],
)
def test_a_manifest_of_another_shape_is_refused(
    saved: Path, change: Callable[[dict], None]
) -> None:
    """Formats, fields and sizes are checked before any file is opened."""
    rewrite(saved, change)
    with pytest.raises(ArtifactError, match="not a manifest of format 2"):
        load(saved)


def test_a_file_longer_than_stated_is_not_read(saved: Path) -> None:
    """Size is bounded by the manifest, not by the disk."""
    with (saved / "typical.npy").open("ab") as file:
        file.write(b"\0" * 10_000)
    with pytest.raises(ArtifactError, match=r"typical\.npy: has more than"):
        load(saved)


@pytest.mark.parametrize(
    ("name", "array", "complaint"),
    [
        ("typical.npy", np.zeros(4, np.float32), "holds float32"),
        ("typical.npy", np.zeros((2, 2)), "1 dimensions"),
        ("typical.npy", np.zeros(3), "typical values must be 4"),
        ("typical.npy", np.full(4, np.nan), "finite"),
        ("forest_leaves.npy", np.zeros((10, 7)), "perfect trees"),
        ("half_space_columns.npy", np.array([0, 2, 9]), "other columns"),
        ("curve_model_combined.npy", np.zeros((3, 5)), "two rows"),
        ("curve_model_combined.npy", np.zeros((2, 5)), "must rise"),
    ],
)
def test_arrays_of_the_wrong_kind_are_refused(
    saved: Path, name: str, array: np.ndarray, complaint: str
) -> None:
    """A vouched-for file must still hold what the kernels rely on."""
    replace_array(saved, name, array)
    with pytest.raises(ArtifactError, match=complaint):
        load(saved)


def test_a_pickled_array_is_refused(saved: Path) -> None:
    """Objects are never unpickled, whatever the manifest says."""
    replace_array(saved, "typical.npy", np.array([{}], dtype=object))
    with pytest.raises(ArtifactError, match="holds object"):
        load(saved)


def test_a_header_that_promises_more_than_the_file_is_refused(saved: Path) -> None:
    """The shape is held against the bytes before memory is taken."""
    header = b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999,), }\n"
    payload = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header
    (saved / "typical.npy").write_bytes(payload)
    stated = {"sha256": hashlib.sha256(payload).hexdigest(), "bytes": len(payload)}
    rewrite(saved, lambda manifest: manifest["files"].update({"typical.npy": stated}))
    with pytest.raises(ArtifactError, match="too short or too long"):
        load(saved)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"rows": np.zeros((300, 4)), "is_cold": np.zeros(300, bool), "partitions": []}, "fewer"),
        ({"rows": np.full((2_000, 4), np.inf)}, "not finite"),
        ({"inputs": ("nothing",)}, "not features"),
        ({"feature_names": NAMES[:3]}, "don't match"),
    ],
)
def test_a_reference_that_will_not_do_is_refused(change: dict[str, object], complaint: str) -> None:
    """Training says what is wrong with the reference."""
    with pytest.raises(ValueError, match=complaint):
        fitted(**change)
