"""When fraud turns to other patterns the verdict does not follow labels of the old ones."""

from pathlib import Path

from tests.drift.replay import measured


def test_labels_of_old_fraud_do_not_hide_the_new(tmp_path: Path) -> None:
    """Labels know nothing of what comes at first: the short form of `make drift`, 20 seconds."""
    result = measured("turns at once", 1, tmp_path)
    assert 50 < result.frauds
    assert result.members["label_fed"] < result.members["label_free"]
    assert result.members["label_fed"] + 0.1 < result.verdict
    assert result.shortfall < 0.2
