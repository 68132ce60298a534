"""Settings: where they come from, and one line for each mistake."""

from pathlib import Path

import pytest

from streamapp.cli.errors import UsageError
from streamapp.cli.settings import known_variables, load_settings


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting of the machine that runs the tests."""
    for name in (*known_variables(), "STREAMAPP_CONFIG_FILE"):
        monkeypatch.delenv(name, raising=False)


def refused(config_file: Path | None = None) -> str:
    """The message for settings that are not valid."""
    with pytest.raises(UsageError) as caught:
        load_settings(config_file)
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_environment_wins_over_file_over_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The nearest source counts, setting by setting."""
    file = tmp_path / "streamapp.toml"
    file.write_text('[topics]\nprefix = "file."\npartitions = 8\n[alerts.webhook]\ntimeout_s = 2\n')
    monkeypatch.setenv("STREAMAPP_TOPICS__PREFIX", "env.")
    settings = load_settings(file)
    topics = settings.topics
    assert ("env.", 8, "verdicts") == (topics.prefix, topics.partitions, topics.verdicts)
    assert 2.0 == settings.alerts.webhook.timeout_s


def test_file_can_be_named_in_the_environment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """STREAMAPP_CONFIG_FILE stands for --config."""
    file = tmp_path / "streamapp.toml"
    file.write_text('[kafka]\nbootstrap_servers = "broker:1"\n')
    monkeypatch.setenv("STREAMAPP_CONFIG_FILE", str(file))
    assert "broker:1" == load_settings().kafka.bootstrap_servers


def test_empty_is_unset_and_null_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """As composed container files give variables that nobody has set."""
    monkeypatch.setenv("STREAMAPP_KAFKA__BOOTSTRAP_SERVERS", "")
    monkeypatch.setenv("STREAMAPP_WORKER__HTTP_PORT", "null")
    settings = load_settings()
    assert "127.0.0.1:9092" == settings.kafka.bootstrap_servers
    assert settings.worker.http_port is None


def test_secret_comes_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """<VARIABLE>_FILE names it; the line end does not belong to the secret."""
    (tmp_path / "dsn").write_text("postgresql://u:pw@db/x\n")
    monkeypatch.setenv("STREAMAPP_POSTGRES__DSN_FILE", str(tmp_path / "dsn"))
    assert "postgresql://u:pw@db/x" == load_settings().postgres.dsn.get_secret_value()


def test_secret_given_twice_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which one is meant is not guessed."""
    monkeypatch.setenv("STREAMAPP_REDIS__URL", "redis://x")
    monkeypatch.setenv("STREAMAPP_REDIS__URL_FILE", str(tmp_path / "url"))
    assert "STREAMAPP_REDIS__URL_FILE and STREAMAPP_REDIS__URL are both set; keep one" == refused()


def test_missing_secret_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mistake is in the path, so the path is shown."""
    monkeypatch.setenv("STREAMAPP_REDIS__URL_FILE", "/nowhere/url")
    expected = "STREAMAPP_REDIS__URL_FILE: the file /nowhere/url cannot be read: "
    assert refused().startswith(expected)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "TOPICS__PARTITIONS",
            "abc",
            "given a text 'abc', expected a valid integer, unable to parse string as an integer",
        ),
        ("TOPICS__PARTITIONS", "0", "given a text '0', expected greater than or equal to 1"),
        (
            "KAFKA__SECURITY_PROTOCOL",
            "TLS",
            "given a text 'TLS', expected 'PLAINTEXT', 'SSL', 'SASL_PLAINTEXT' or 'SASL_SSL'",
        ),
    ],
)
def test_wrong_value_says_what_is_expected(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    """Setting, what was given, what is expected."""
    monkeypatch.setenv(f"STREAMAPP_{name}", value)
    assert f"STREAMAPP_{name}: {message}" == refused()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ALERTS__WEBHOOK__URL", "http://plain.example/hunter2"),
        ("ALERTS__WEBHOOK__URL", "https://x:hunter2/"),
        ("ALERTS__WEBHOOK__SECRET", "hunter2"),
    ],
)
def test_secret_is_not_shown_when_wrong(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    """The message names the group of settings, never the value."""
    monkeypatch.setenv(f"STREAMAPP_{name}", value)
    message = refused()
    assert message.startswith("STREAMAPP_ALERTS__WEBHOOK: the webhook ")
    assert "hunter2" not in message


def test_wrong_kind_of_secret_is_not_shown(tmp_path: Path) -> None:
    """A number in the file where a text belongs may be a password as well."""
    file = tmp_path / "streamapp.toml"
    file.write_text("[postgres]\ndsn = 4711\n")
    assert "STREAMAPP_POSTGRES__DSN: given an integer, expected a valid string" == refused(file)


def test_several_mistakes_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """One line, and how many more there are."""
    monkeypatch.setenv("STREAMAPP_TOPICS__PARTITIONS", "0")
    monkeypatch.setenv("STREAMAPP_SINK__LINGER_S", "-1")
    assert refused().endswith(" (and 1 more)")


def test_unknown_variable_names_the_nearest(monkeypatch: pytest.MonkeyPatch) -> None:
    """A typing error is not ignored in silence."""
    monkeypatch.setenv("STREAMAPP_KAFKA__BOOTSTRAP_SERVER", "x")
    expected = "is not a setting; the nearest is STREAMAPP_KAFKA__BOOTSTRAP_SERVERS"
    assert f"STREAMAPP_KAFKA__BOOTSTRAP_SERVER {expected}" == refused()


def test_variables_of_tests_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """STREAMAPP_TEST_* belongs to the test suite."""
    monkeypatch.setenv("STREAMAPP_TEST_BROKER", "noida")
    load_settings()


def test_unknown_key_in_the_file_names_the_nearest(tmp_path: Path) -> None:
    """The file is read as strictly as the environment."""
    file = tmp_path / "streamapp.toml"
    file.write_text('[kafka]\nbootstrap = "x"\n')
    assert refused(file).startswith("kafka.bootstrap in the configuration file is not a setting")


@pytest.mark.parametrize("content", ["[kafka", "\udcff"])
def test_broken_file_is_told(tmp_path: Path, content: str) -> None:
    """Not TOML, or not UTF-8."""
    file = tmp_path / "streamapp.toml"
    file.write_bytes(content.encode("utf-8", "surrogateescape"))
    assert f"the configuration file {file} is not TOML" in refused(file)


def test_missing_file_is_told(tmp_path: Path) -> None:
    """A configuration that was asked for is not optional."""
    assert "cannot be read: No such file or directory" in refused(tmp_path / "none.toml")


def test_masked_dump_holds_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is printed at the start can be shown to anybody."""
    monkeypatch.setenv("STREAMAPP_KAFKA__SASL_PASSWORD", "hunter2")
    monkeypatch.setenv("STREAMAPP_POSTGRES__DSN", "postgresql://u:hunter2@db/x")
    dump = load_settings().masked()
    assert "hunter2" not in str(dump)
    assert "**********" == dump["kafka"]["sasl_password"]
    assert 4 == dump["topics"]["partitions"]
