"""Models as people ask for them: the card, how they were made, and which of them is at work."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from streamapp.scoring.artifact import ModelArtifact, load

CARD: Final = "MODEL_CARD.md"
_CARD_BYTES_MAX: Final = 256 * 1024


@dataclass(frozen=True, slots=True)
class Model:
    """A model artifact that this API can read."""

    version: str
    artifact: ModelArtifact
    card: str


class Models:
    """The models of some directories, read and verified once."""

    def __init__(self, directories: list[Path]) -> None:
        """Raises ArtifactError."""
        found = [_read(directory) for directory in directories]
        self._models = {model.version: model for model in found}
        self._last_seen: dict[str, str] = {}

    def saw(self, version: str, timestamp: str) -> None:
        """A verdict of this event time names this version."""
        if timestamp > self._last_seen.get(version, ""):
            self._last_seen[version] = timestamp

    def summaries(self) -> list[dict[str, Any]]:
        """All that are known, by a directory or by a verdict."""
        versions = [*self._models, *(v for v in self._last_seen if v not in self._models)]
        return [self._summary(version) for version in versions]

    def details(self, version: str) -> dict[str, Any] | None:
        """All of one model; None where it can't be read here."""
        model = self._models.get(version)
        if model is None:
            return None
        artifact = model.artifact
        return {
            **self._summary(version),
            "features": list(artifact.feature_names),
            "inputs": list(artifact.inputs),
            "hyperparameters": artifact.training.hyperparameters,
            "libraries": artifact.training.libraries,
            "card": model.card,
        }

    def artifact(self, version: str) -> ModelArtifact | None:
        """The model of a version; None where it can't be read here."""
        model = self._models.get(version)
        return model.artifact if model else None

    def _summary(self, version: str) -> dict[str, Any]:
        model = self._models.get(version)
        training = model.artifact.training if model else None
        return {
            "version": version,
            "last_verdict": self._last_seen.get(version),
            "feature_contract": model.artifact.feature_contract if model else None,
            "description": training.description if training else None,
            "trained_on_rows": training.rows if training else None,
        }


def _read(directory: Path) -> Model:
    artifact = load(directory)
    card = directory / CARD
    text = ""
    if card.is_file():
        with card.open("rb") as file:
            text = file.read(_CARD_BYTES_MAX).decode("utf-8", "replace")
    return Model(artifact.version, artifact, text)
