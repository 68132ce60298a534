"""Writes docs/settings.md from the settings in the code: `make settings-reference`."""

import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from streamapp.cli.settings import Settings

FILE = Path(__file__).parents[2] / "docs" / "settings.md"

_HEAD = """\
# Settings

<!-- Made from the code by `make settings-reference`. -->

Each setting is an environment variable, or a key in a TOML file named by `--config` or
`STREAMAPP_CONFIG_FILE`: `STREAMAPP_KAFKA__BOOTSTRAP_SERVERS` is `bootstrap_servers` in the table
`[kafka]`. The environment wins over the file; an unknown name is an error. A secret can also come
from a file: put `_FILE` behind the variable's name and give the path.
"""


def reference() -> str:
    """The text of docs/settings.md."""
    return _HEAD + "".join(_group(name, field) for name, field in Settings.model_fields.items())


def _group(name: str, field: FieldInfo) -> str:
    model = field.annotation
    assert isinstance(model, type)
    assert issubclass(model, BaseModel)
    rows = "\n".join(_rows(model, f"STREAMAPP_{name.upper()}__"))
    about = " ".join((model.__doc__ or "").split())
    return f"\n## {name}\n\n{about}\n\n| variable | default | meaning |\n|---|---|---|\n{rows}\n"


def _rows(model: type[BaseModel], prefix: str) -> Iterator[str]:
    meanings = _meanings(model)
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _rows(kind, f"{prefix}{name.upper()}__")
            continue
        secret = "Secret. " if SecretStr in (kind, *get_args(kind)) else ""
        meaning = secret + meanings.get(name, "")
        yield f"| `{prefix}{name.upper()}` | {_default(field)} | {meaning.strip()} |"


def _default(field: FieldInfo) -> str:
    value = field.default
    value = value.get_secret_value() if isinstance(value, SecretStr) else value
    return "" if value is None or value == "" else f"`{value}`"


def _meanings(model: type[BaseModel]) -> dict[str, str]:
    """The `#:` comments above the fields of a settings class."""
    meanings, comment = {}, []
    for line in map(str.strip, inspect.getsource(model).splitlines()):
        if line.startswith("#"):
            comment.append(line.removeprefix("#").removeprefix(":").strip())
            continue
        if field := re.match(r"(\w+):", line):
            meanings[field[1]] = " ".join(comment)
        comment = []
    return meanings


if __name__ == "__main__":
    FILE.write_text(reference(), encoding="utf-8")
