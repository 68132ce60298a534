"""The scorer that peers get is the pipeline, an event at a time."""

from benchmarks.peers.event_scorer import EventScorer
from benchmarks.traffic import traffic
from streamapp.scoring.artifact import load
from streamapp.scoring.default_model import default_model_dir
from streamapp.scoring.pipeline import Pipeline

EVENTS = 2_500


def test_verdicts_are_the_pipelines_byte_for_byte() -> None:
    """Peers are held to the same work, with reasons, over several windows of the trees."""
    model = load(default_model_dir())
    batches = list(traffic(EVENTS))
    keys = [key for batch in batches for key in batch.keys]
    values = [value for batch in batches for value in batch.values]
    expected = Pipeline(model).process(keys, values)
    assert {0, 1} <= set(expected.severities)
    scorer, profiles = EventScorer(model, "transactions", 0), {}
    found = []
    for offset, (key, value) in enumerate(zip(keys, values, strict=True)):
        scored = scorer.score(key, value, offset, profiles.get(key))
        assert scored is not None
        profiles[key] = scored.profile
        found.append((scored.payload, scored.severity))
    assert list(zip(expected.payloads, expected.severities, strict=True)) == found
