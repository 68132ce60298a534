"""All settings of streamapp in one place: where they come from, and what is wrong with them.

Sources, the first one wins:

1. environment: `STREAMAPP_<GROUP>__<NAME>`, for example `STREAMAPP_KAFKA__BOOTSTRAP_SERVERS`;
   an empty value counts as not set, the word `null` stands for none;
2. for secrets, a file named by the same variable with `_FILE` behind it, as container platforms
   mount them: `STREAMAPP_POSTGRES__DSN_FILE=/run/secrets/dsn`;
3. a TOML file (`--config`, or STREAMAPP_CONFIG_FILE) with a table for each group;
4. the defaults.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretStr, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from streamapp.api.settings import ApiSettings
from streamapp.cli.errors import UsageError
from streamapp.engine.settings import WorkerSettings
from streamapp.kafka.settings import KafkaSettings, TopicSettings
from streamapp.sinks.alerts.settings import AlertSettings
from streamapp.sinks.parquet.settings import ParquetSettings
from streamapp.sinks.postgres.settings import PostgresSettings
from streamapp.sinks.redis.settings import RedisSettings
from streamapp.sinks.settings import RunnerSettings
from streamapp.tracing.settings import TracingSettings

PREFIX: Final = "STREAMAPP_"
CONFIG_FILE: Final = "STREAMAPP_CONFIG_FILE"

#: Variables that are not settings: the file's name, and what tests use for themselves.
_NOT_SETTINGS: Final = (CONFIG_FILE, "STREAMAPP_TEST_")
_DELIMITER: Final = "__"
_SECRET_BYTES_MAX: Final = 65_536

Location = tuple[str, ...]


class Settings(BaseSettings):
    """Every setting, frozen. Made by `load_settings`, which explains what is wrong."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter=_DELIMITER,
        env_ignore_empty=True,
        env_parse_none_str="null",
        frozen=True,
        extra="forbid",
    )

    kafka: KafkaSettings = KafkaSettings()
    topics: TopicSettings = TopicSettings()
    worker: WorkerSettings = WorkerSettings()
    sink: RunnerSettings = RunnerSettings()
    alerts: AlertSettings = AlertSettings()
    postgres: PostgresSettings = PostgresSettings()
    parquet: ParquetSettings = ParquetSettings()
    redis: RedisSettings = RedisSettings()
    api: ApiSettings = ApiSettings()
    tracing: TracingSettings = TracingSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - ours is stricter
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - not read, by intent
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - ours follows _FILE
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Environment before secret files before what was given (the TOML file)."""
        return Environment(settings_cls), SecretFiles(settings_cls), init_settings

    def masked(self) -> dict[str, Any]:
        """All values for printing, secrets as asterisks."""
        return self.model_dump(mode="json")


class Environment(EnvSettingsSource):
    """The variables of single settings: neither whole groups as JSON nor the `_FILE` forms."""

    def _load_env_vars(self) -> Mapping[str, str | None]:
        names = {_variable(location).lower() for location, _ in _leaves(self.settings_cls)}
        return {name: value for name, value in super()._load_env_vars().items() if name in names}


class SecretFiles(PydanticBaseSettingsSource):
    """Secrets from the files that `<VARIABLE>_FILE` names."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Not used: the whole tree is read at once."""
        raise NotImplementedError

    def __call__(self) -> dict[str, Any]:
        tree: dict[str, Any] = {}
        for location, is_secret in _leaves(self.settings_cls):
            variable = f"{_variable(location)}_FILE"
            path = os.environ.get(variable)
            if is_secret and path:
                _plant(tree, location, _read_secret(variable, Path(path)))
        return tree


def load_settings(config_file: Path | None = None) -> Settings:
    """Settings from environment, secret files and the TOML file.

    Raises UsageError: one line that names the setting, what was given and what is expected.
    """
    _reject_unknown(os.environ)
    named = os.environ.get(CONFIG_FILE)
    path = config_file or (Path(named) if named else None)
    given = _read_toml(path) if path else {}
    try:
        return Settings(**given)
    except ValidationError as error:
        raise UsageError(_explained(error)) from None


def known_variables() -> list[str]:
    """The environment variable of every setting, `_FILE` forms of secrets included."""
    names = []
    for location, is_secret in _leaves(Settings):
        names.append(_variable(location))
        if is_secret:
            names.append(f"{_variable(location)}_FILE")
    return names


def _leaves(model: type[BaseModel], above: Location = ()) -> Iterator[tuple[Location, bool]]:
    """Every single setting below a model, and whether it is a secret."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from _leaves(kind, (*above, name))
        else:
            yield (*above, name), SecretStr in (kind, *get_args(kind))


def _variable(location: Location) -> str:
    return PREFIX + _DELIMITER.join(location).upper()


def _plant(tree: dict[str, Any], location: Location, value: str) -> None:
    for name in location[:-1]:
        tree = tree.setdefault(name, {})
    tree[location[-1]] = value


def _read_secret(variable: str, path: Path) -> str:
    if os.environ.get(variable.removesuffix("_FILE")):
        raise UsageError(f"{variable} and {variable.removesuffix('_FILE')} are both set; keep one")
    try:
        with path.open("rb") as file:
            content = file.read(_SECRET_BYTES_MAX + 1)
        if len(content) > _SECRET_BYTES_MAX:
            raise UsageError(f"{variable}: the file is over {_SECRET_BYTES_MAX} bytes")
        return content.decode().rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8 text"
        raise UsageError(f"{variable}: the file {path} cannot be read: {reason}") from None


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(
            f"the configuration file {path} cannot be read: {error.strerror}"
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"the configuration file {path} is not TOML: {error}") from None


def _reject_unknown(environment: Mapping[str, str]) -> None:
    known = known_variables()
    for name in sorted(environment):
        wanted = name.upper()
        is_ours = wanted.startswith(PREFIX) and not wanted.startswith(_NOT_SETTINGS)
        if is_ours and wanted not in known:
            raise UsageError(f"{name} is not a setting{_nearest(wanted, known)}")


def _nearest(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f"; the nearest is {close[0]}" if close else ""


def _explained(error: ValidationError) -> str:
    """The first problem in one line, and how many more there are."""
    # include_url and include_context off: neither is read. The input is, for its kind.
    problems = error.errors(include_url=False, include_context=False)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return _problem(problems[0]) + more


def _problem(problem: ErrorDetails) -> str:
    location = tuple(str(part) for part in problem["loc"])
    if problem["type"] == "extra_forbidden":
        nearest = _nearest(_variable(location), known_variables())
        return f"{'.'.join(location)} in the configuration file is not a setting{nearest}"
    leaf = _leaf(location)
    if leaf is None:
        expected = problem["msg"].removeprefix("Value error, ")
        return f"{_variable(location)}: {expected}"
    (place, is_secret), given = leaf, problem["input"]
    expected = problem["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    shown = "" if is_secret else f" {given!r:.60}"
    return f"{_variable(place)}: given {_kind(given)}{shown}, expected {expected}"


def _leaf(location: Location) -> tuple[Location, bool] | None:
    """The single setting a location is at; union members may stand behind its name."""
    for place, is_secret in _leaves(Settings):
        if location[: len(place)] == place:
            return place, is_secret
    return None


def _kind(value: object) -> str:
    names = {str: "a text", bool: "a truth value", int: "an integer", float: "a number"}
    return names.get(type(value), f"a {type(value).__name__}")
