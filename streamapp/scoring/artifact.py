"""The model artifact: a directory of `.npy` arrays and a manifest.json that vouches for them.

The names of the files are a closed set, so a manifest can't point elsewhere; every file is read
up to its stated size, held against its SHA-256, and its header against the kind and number of
bytes expected, before any array is made. Nothing is ever unpickled. The same model saves to the
same bytes, and its version is a digest of them.
"""

import hashlib
import io
import math
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import msgspec
import numpy as np
from numpy.typing import NDArray

from streamapp.features.contract import CONTRACT_VERSION
from streamapp.scoring.calibration import EnsembleCurves, PackedCurves, TailCurve
from streamapp.scoring.forest import IsolationForestArrays
from streamapp.scoring.half_space_trees import HalfSpaceTreesArrays
from streamapp.scoring.supervised import SUPERVISED_FILES, Supervised, SupervisedManifest

FORMAT: Final = 2
MANIFEST: Final = "manifest.json"

#: Far above any manifest (4 KB) and any array file (200 KB for 100 trees) we write.
MANIFEST_BYTES_MAX: Final = 1024 * 1024
FILE_BYTES_MAX: Final = 64 * 1024 * 1024

MEMBERS: Final = ("isolation_forest", "half_space_trees", "combined")
MODES: Final = ("model", "cold_start")
CalibratedMode = Literal["model", "cold_start"]

_MEND: Final = "restore the whole directory from where it came, or train the model again"


class ArtifactError(ValueError):
    """A model artifact that can't be trusted or read; the message names the file and the mend."""


class Training(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How the model was made: enough to make it again."""

    description: str
    rows: int
    seed: int
    hyperparameters: dict[str, int | float]
    libraries: dict[str, str]


@dataclass(frozen=True)
class ModelArtifact:
    """One trained ensemble, ready to score the feature matrix whose columns it names.

    feature_names: the columns of the matrix, in order; inputs: those the models look at.
    typical (d) float64: the median of each feature over the reference.
    global_amount_limit: the amount from which the feature contract raises its global flag.
    supervised: None until there were labels to learn from.
    """

    feature_contract: str
    feature_names: tuple[str, ...]
    inputs: tuple[str, ...]
    forest: IsolationForestArrays
    half_space_trees: HalfSpaceTreesArrays
    curves: dict[CalibratedMode, EnsembleCurves]
    typical: NDArray[np.float64]
    global_amount_limit: float
    training: Training
    supervised: Supervised | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where the parts don't fit each other."""
        width = len(self.feature_names)
        if len(set(self.feature_names)) != width or not set(self.inputs) <= {*self.feature_names}:
            raise ValueError("feature names must be distinct and hold every input")
        columns = [self.feature_names.index(name) for name in self.inputs]
        if self.half_space_trees.columns.tolist() != columns:
            raise ValueError("half-space trees look at other columns than the inputs")
        if not {*np.unique(self.forest.features).tolist()} <= {*columns}:
            raise ValueError("the forest looks at columns that are not inputs")
        if self.typical.dtype != np.float64 or self.typical.shape != (width,):
            raise ValueError(f"typical values must be {width} float64")
        if not (np.isfinite(self.typical).all() and math.isfinite(self.global_amount_limit)):
            raise ValueError("typical values and the global amount limit must be finite")
        if set(self.curves) != set(MODES):
            raise ValueError(f"curves must be given for {MODES}")

    @cached_property
    def packed_curves(self) -> PackedCurves:
        """The curves of MODES, in their order."""
        return PackedCurves.of([self.curves[mode] for mode in MODES])

    @cached_property
    def version(self) -> str:
        """The model's name: a digest of all that is saved, arrays and manifest."""
        return _manifest_of(self, _encode_files(self)).version


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    sha256: Annotated[str, msgspec.Meta(pattern="^[0-9a-f]{64}$")]
    bytes: Annotated[int, msgspec.Meta(ge=1, le=FILE_BYTES_MAX)]


class _Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    format: Literal[2]
    version: str
    feature_contract: str
    feature_names: tuple[str, ...]
    inputs: tuple[str, ...]
    forest_normaliser: float
    half_space_window: int
    curve_slopes: dict[str, float]
    global_amount_limit: float
    training: Training
    files: dict[str, _File]
    supervised: SupervisedManifest | None = None


_CURVES: Final = tuple((mode, member) for mode in MODES for member in MEMBERS)

#: Every file of an artifact without labels, with its kind and number of dimensions.
_FILES: Final[dict[str, tuple[str, int]]] = {
    "forest_features.npy": ("|u1", 2),
    "forest_thresholds.npy": ("<f4", 2),
    "forest_leaves.npy": ("<f8", 2),
    "forest_expected.npy": ("<f4", 2),
    "half_space_features.npy": ("|u1", 2),
    "half_space_thresholds.npy": ("<f8", 2),
    "half_space_columns.npy": ("<i8", 1),
    "half_space_lower.npy": ("<f8", 1),
    "half_space_upper.npy": ("<f8", 1),
    "half_space_usual.npy": ("<u2", 2),
    "typical.npy": ("<f8", 1),
    **{f"curve_{mode}_{member}.npy": ("<f8", 2) for mode, member in _CURVES},
}


def save(artifact: ModelArtifact, directory: Path) -> None:
    """Write the artifact; the manifest goes last, so a broken-off save never loads.

    Files of an artifact that was there are overwritten, or removed where this one has none.
    """
    directory.mkdir(parents=True, exist_ok=True)
    files = _encode_files(artifact)
    for name in SUPERVISED_FILES.keys() - files.keys():
        (directory / name).unlink(missing_ok=True)
    for name, payload in files.items():
        (directory / name).write_bytes(payload)
    encoded = msgspec.json.encode(_manifest_of(artifact, files), order="deterministic")
    (directory / MANIFEST).write_bytes(msgspec.json.format(encoded, indent=2) + b"\n")


def load(directory: Path) -> ModelArtifact:
    """Read an artifact and verify all of it. Raises ArtifactError."""
    manifest = _read_manifest(directory / MANIFEST)
    if manifest.feature_contract != CONTRACT_VERSION:
        raise ArtifactError(
            f"{directory}: made for feature contract {manifest.feature_contract}, this version"
            f" computes {CONTRACT_VERSION}; train the model again with it"
        )
    _check_names(directory, manifest)
    arrays = {
        name: _read_array(directory / name, manifest.files[name], kind, dimensions)
        for name, (kind, dimensions) in _files_of(manifest.supervised).items()
    }
    try:
        return _assemble(manifest, arrays)
    except ValueError as error:
        raise ArtifactError(f"{directory}: {error}; {_MEND}") from error


def _arrays_of(artifact: ModelArtifact) -> dict[str, NDArray[Any]]:
    forest, trees = artifact.forest, artifact.half_space_trees
    assert trees.usual is not None, "only trees with the masses of usual traffic are saved"
    arrays: dict[str, NDArray[Any]] = {
        "forest_features.npy": forest.features,
        "forest_thresholds.npy": forest.thresholds,
        "forest_leaves.npy": forest.leaves,
        "forest_expected.npy": forest.expected,
        "half_space_features.npy": trees.features,
        "half_space_thresholds.npy": trees.thresholds,
        "half_space_columns.npy": trees.columns,
        "half_space_lower.npy": trees.lower,
        "half_space_upper.npy": trees.upper,
        "half_space_usual.npy": trees.usual,
        "typical.npy": artifact.typical,
    }
    for mode, curves in artifact.curves.items():
        for member in MEMBERS:
            curve: TailCurve = getattr(curves, member)
            arrays[f"curve_{mode}_{member}.npy"] = np.stack([curve.raw, curve.log_p])
    return arrays | (artifact.supervised.arrays() if artifact.supervised else {})


def _files_of(supervised: object | None) -> dict[str, tuple[str, int]]:
    return _FILES if supervised is None else {**_FILES, **SUPERVISED_FILES}


def _encode_files(artifact: ModelArtifact) -> dict[str, bytes]:
    arrays = _arrays_of(artifact)
    files = _files_of(artifact.supervised)
    return {name: _encode_array(arrays[name], kind) for name, (kind, _) in files.items()}


def _encode_array(array: NDArray[Any], kind: str) -> bytes:
    buffer = io.BytesIO()
    ordered = np.ascontiguousarray(array, dtype=np.dtype(kind))
    np.lib.format.write_array(buffer, ordered, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def _manifest_of(artifact: ModelArtifact, files: dict[str, bytes]) -> _Manifest:
    manifest = _Manifest(
        format=FORMAT,
        version="",
        feature_contract=artifact.feature_contract,
        feature_names=artifact.feature_names,
        inputs=artifact.inputs,
        forest_normaliser=artifact.forest.normaliser,
        half_space_window=artifact.half_space_trees.window,
        curve_slopes={
            f"{mode}_{member}": getattr(curves, member).slope
            for mode, curves in artifact.curves.items()
            for member in MEMBERS
        },
        global_amount_limit=artifact.global_amount_limit,
        training=artifact.training,
        files={
            name: _File(hashlib.sha256(payload).hexdigest(), len(payload))
            for name, payload in files.items()
        },
        supervised=artifact.supervised.manifest() if artifact.supervised else None,
    )
    return msgspec.structs.replace(manifest, version=_version_of(manifest))


def _version_of(manifest: _Manifest) -> str:
    unnamed = msgspec.structs.replace(manifest, version="")
    digest = hashlib.sha256(msgspec.json.encode(unnamed, order="deterministic"))
    return f"m-{digest.hexdigest()[:12]}"


def _read_manifest(path: Path) -> _Manifest:
    payload = _read_bytes(path, MANIFEST_BYTES_MAX)
    try:
        manifest = msgspec.json.decode(payload, type=_Manifest)
    except msgspec.DecodeError as error:
        raise ArtifactError(
            f"{path}: not a manifest of format {FORMAT}: {error}; {_MEND}"
        ) from error
    if manifest.version != _version_of(manifest):
        raise ArtifactError(
            f"{path}: version is {manifest.version!r}, by its content it should be "
            f"{_version_of(manifest)}; {_MEND}"
        )
    return manifest


def _check_names(directory: Path, manifest: _Manifest) -> None:
    """Only the known files, all of them; other kinds (a model card) may lie beside them."""
    known = {*_files_of(manifest.supervised)}
    unknown = {*manifest.files, *(path.name for path in directory.glob("*.npy"))} - known
    missing = known - {*manifest.files}
    if unknown or missing:
        raise ArtifactError(
            f"{directory}: unknown files {sorted(unknown)}, missing from {MANIFEST}: "
            f"{sorted(missing)}; {_MEND}"
        )


def _read_bytes(path: Path, bytes_max: int) -> bytes:
    try:
        if not path.is_file():
            raise ArtifactError(f"{path}: there is no such file; {_MEND}")
        with path.open("rb") as file:
            payload = file.read(bytes_max + 1)
    except OSError as error:
        raise ArtifactError(f"{path}: can't be read ({error.strerror}); {_MEND}") from error
    if len(payload) > bytes_max:
        raise ArtifactError(f"{path}: has more than {bytes_max} bytes; {_MEND}")
    return payload


def _read_array(path: Path, stated: _File, kind: str, dimensions: int) -> NDArray[Any]:
    payload = _read_bytes(path, stated.bytes)
    if hashlib.sha256(payload).hexdigest() != stated.sha256:
        raise ArtifactError(f"{path}: SHA-256 is not the one in {MANIFEST}; {_MEND}")
    try:
        return _decode_array(payload, np.dtype(kind), dimensions)
    except ValueError as error:
        raise ArtifactError(f"{path}: {error}; {_MEND}") from error


def _decode_array(payload: bytes, dtype: np.dtype[Any], dimensions: int) -> NDArray[Any]:
    buffer = io.BytesIO(payload)
    if np.lib.format.read_magic(buffer) != (1, 0):
        raise ValueError("not an array file of version 1.0")
    shape, is_fortran, found = np.lib.format.read_array_header_1_0(buffer)
    if found != dtype or len(shape) != dimensions or is_fortran:
        raise ValueError(f"holds {found}{shape}, must be {dtype} in {dimensions} dimensions")
    if math.prod(shape) * dtype.itemsize != len(payload) - buffer.tell():
        raise ValueError(f"is too short or too long for the shape {shape}")
    flat = np.frombuffer(payload, dtype, offset=buffer.tell())
    return flat.reshape(shape).astype(dtype.newbyteorder("="))


def _assemble(manifest: _Manifest, arrays: dict[str, NDArray[Any]]) -> ModelArtifact:
    return ModelArtifact(
        feature_contract=manifest.feature_contract,
        feature_names=manifest.feature_names,
        inputs=manifest.inputs,
        forest=IsolationForestArrays(
            features=arrays["forest_features.npy"],
            thresholds=arrays["forest_thresholds.npy"],
            leaves=arrays["forest_leaves.npy"],
            expected=arrays["forest_expected.npy"],
            normaliser=manifest.forest_normaliser,
        ),
        half_space_trees=HalfSpaceTreesArrays(
            features=arrays["half_space_features.npy"],
            thresholds=arrays["half_space_thresholds.npy"],
            columns=arrays["half_space_columns.npy"],
            lower=arrays["half_space_lower.npy"],
            upper=arrays["half_space_upper.npy"],
            window=manifest.half_space_window,
            usual=arrays["half_space_usual.npy"],
        ),
        curves={
            "model": _assemble_curves(manifest, arrays, "model"),
            "cold_start": _assemble_curves(manifest, arrays, "cold_start"),
        },
        typical=arrays["typical.npy"],
        global_amount_limit=manifest.global_amount_limit,
        training=manifest.training,
        supervised=Supervised.stored(manifest.supervised, arrays) if manifest.supervised else None,
    )


def _assemble_curves(
    manifest: _Manifest, arrays: dict[str, NDArray[Any]], mode: CalibratedMode
) -> EnsembleCurves:
    return EnsembleCurves(*(_assemble_curve(manifest, arrays, f"{mode}_{m}") for m in MEMBERS))


def _assemble_curve(manifest: _Manifest, arrays: dict[str, NDArray[Any]], name: str) -> TailCurve:
    knots = arrays[f"curve_{name}.npy"]
    if knots.shape[0] != 2 or name not in manifest.curve_slopes:
        raise ValueError(f"curve_{name}.npy must hold two rows and have a slope in {MANIFEST}")
    return TailCurve(knots[0].copy(), knots[1].copy(), manifest.curve_slopes[name])
