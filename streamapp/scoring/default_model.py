"""Where the model that ships with streamapp is: `models/default`, in a checkout and in a wheel."""

from pathlib import Path


def default_model_dir() -> Path:
    """Directory of the shipped model artifact.

    `models` beside this file links to the repository's directory of that name; a wheel holds a
    copy of it in the same place.
    """
    return Path(__file__).parent / "models" / "default"
