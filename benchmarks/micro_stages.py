"""The stages of scoring, each in several ways: ours, and the libraries it replaces.

A way is `(batch, events) -> run`: what it returns works through `events` events in batches of
`batch`; only that is timed. Where a stage has state, it is made or copied before, so every round
does the same work.
"""

import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import numpy as np
import orjson
from pydantic import BaseModel, Field

from benchmarks import tutorial_features
from benchmarks.micro_material import Material, river_model
from streamapp.domain.decode import decode
from streamapp.domain.transaction import Transaction
from streamapp.features.columns import Columns, columns_of
from streamapp.features.kernel import compute
from streamapp.features.profile import PROFILE, place, seal_all, unseal_all
from streamapp.scoring.half_space_trees import HalfSpaceState
from streamapp.scoring.pipeline import Pipeline
from tests.features.oracle import Oracle
from tests.scoring.learning import learn_as_told

OURS = "streamapp"

Run = Callable[[], Any]
Way = Callable[[int, int], Run]


@dataclass(frozen=True, slots=True)
class Stage:
    """One stage: its ways by name, ours first."""

    name: str
    ways: dict[str, Way]


class PydanticTransaction(BaseModel):
    """Transaction v1 with pydantic: the fields the sample has."""

    tx_id: str = Field(min_length=1, max_length=128)
    user_id: str = Field(min_length=1, max_length=128)
    amount: float = Field(ge=0, le=1e12, allow_inf_nan=False)
    timestamp: datetime
    merchant_id: str | None = Field(default=None, max_length=128)
    merchant_category: str | None = Field(default=None, max_length=128)


def spans(batch: int, events: int) -> Iterator[tuple[int, int]]:
    """Where each batch starts and ends."""
    return ((start, start + batch) for start in range(0, events, batch))


def scoring_stages(material: Material) -> list[Stage]:
    """From bytes to scores, in the order an event meets them."""
    pydantic = PydanticTransaction.model_validate_json
    return [
        Stage(
            "decode to columns",
            {
                OURS: _decode(material),
                "msgspec, objects": _objects(material),
                "pydantic": _each_value(material, pydantic),
                "orjson, unchecked": _each_value(material, orjson.loads),
                "json, unchecked": _each_value(material, json.loads),
            },
        ),
        Stage(
            "features",
            {
                OURS: _features(material),
                "ten of 36, Python": _ten(material),
                "all, brute force": _oracle(material),
            },
        ),
        Stage("forest", {OURS: _forest(material), "scikit-learn": _scikit(material)}),
        Stage("half-space trees", {OURS: _trees(material), "River": _river(material)}),
        Stage(
            "profile, seal",
            {OURS: _seal(material), "pickle of a dict": _each_profile(material, pickle.dumps)},
        ),
        Stage(
            "profile, unseal",
            {OURS: _unseal(material), "pickle of a dict": _each_pickle(material)},
        ),
        Stage("all but Kafka and disk", {OURS: _pipeline(material)}),
    ]


def _decode(material: Material) -> Way:
    def way(batch: int, events: int) -> Run:
        def run() -> None:
            for start, stop in spans(batch, events):
                material.payments(start, stop)

        return run

    return way


def _objects(material: Material) -> Way:
    """A checked object of each, then columns of their fields: what is not plain goes this way."""

    def way(batch: int, events: int) -> Run:
        def run() -> None:
            for start, stop in spans(batch, events):
                told = list(map(decode, material.keys[start:stop], material.values[start:stop]))
                columns_of(cast(list[Transaction], told), range(start, stop))

        return run

    return way


def _each_value(material: Material, function: Callable[[Any], Any]) -> Way:
    def way(batch: int, events: int) -> Run:
        def run() -> None:
            for start, stop in spans(batch, events):
                list(map(function, material.values[start:stop]))

        return run

    return way


def _features(material: Material) -> Way:
    def way(batch: int, events: int) -> Run:
        profiles = material.new_profiles()

        def run() -> None:
            for start, stop in spans(batch, events):
                columns = Columns(material.columns.records[start:stop])
                compute(columns, material.slots[start:stop], profiles, -1, material.parameters)

        return run

    return way


def _ten(material: Material) -> Way:
    """The ten core features as the tutorial's worker has them, at every batch the same."""

    def way(_batch: int, events: int) -> Run:
        told = [tutorial_features.Transaction.loads(one or b"") for one in material.values[:events]]

        def run() -> None:
            profiles: dict[str, tutorial_features.Profile] = {}
            for one in told:
                profile = profiles.setdefault(one.user_id, tutorial_features.new_profile())
                tutorial_features.features_of(one, profile)
                tutorial_features.learn(one, profile)

        return run

    return way


def _oracle(material: Material) -> Way:
    """The contract told in plain Python over each user's history, at every batch the same."""

    def way(_batch: int, events: int) -> Run:
        oracle = Oracle(material.parameters.global_amount_limit, material.parameters.idle_ms_max)
        told = [material.oracle_event(row) for row in range(events)]
        return lambda: list(map(oracle.tell, told))

    return way


def _forest(material: Material) -> Way:
    rows = material.narrow

    def way(batch: int, events: int) -> Run:
        return lambda: [material.forest.score(rows[a:b]) for a, b in spans(batch, events)]

    return way


def _scikit(material: Material) -> Way:
    rows, score = material.narrow, material.scikit.score_samples

    def way(batch: int, events: int) -> Run:
        return lambda: [score(rows[a:b]) for a, b in spans(batch, events)]

    return way


def _trees(material: Material) -> Way:
    rows, learn = material.features.values, np.ones(len(material.values), np.bool_)

    def way(batch: int, events: int) -> Run:
        state = HalfSpaceState.empty(material.trees)

        def run() -> None:
            for start, stop in spans(batch, events):
                learn_as_told(material.trees, state, rows[start:stop], learn[start:stop])

        return run

    return way


def _river(material: Material) -> Way:
    """River takes an event at a time, at every batch the same."""

    def way(_batch: int, events: int) -> Run:
        model, inputs = river_model(), material.river_events(events)
        model.learn_one(inputs[0])  # builds the trees

        def run() -> None:
            for event in inputs:
                model.score_one(event)
                model.learn_one(event)

        return run

    return way


def _seal(material: Material) -> Way:
    profiles, users = material.profiles, material.users

    def way(batch: int, events: int) -> Run:
        def run() -> None:
            for start, stop in spans(batch, events):
                seal_all(profiles, np.arange(start, stop) % users)

        return run

    return way


def _unseal(material: Material) -> Way:
    images = seal_all(material.profiles, np.arange(material.users))

    def way(batch: int, events: int) -> Run:
        block = material.new_profiles()

        def run() -> None:
            for start, stop in spans(batch, events):
                slots = np.arange(start, stop) % len(images)
                place(block, slots, unseal_all([images[slot] for slot in slots.tolist()]))

        return run

    return way


def profile_dict(profile: np.void) -> dict[str, Any]:
    """A profile as a dictionary of numbers and lists, as one would keep it without a layout."""
    assert PROFILE.names is not None
    return {name: profile[name].tolist() for name in PROFILE.names}


def _each_profile(material: Material, function: Callable[[Any], Any]) -> Way:
    dicts = [profile_dict(profile) for profile in material.profiles[: material.users]]

    def way(_batch: int, events: int) -> Run:
        return lambda: [function(dicts[number % len(dicts)]) for number in range(events)]

    return way


def _each_pickle(material: Material) -> Way:
    images = [pickle.dumps(profile_dict(one)) for one in material.profiles[: material.users]]

    def way(_batch: int, events: int) -> Run:
        return lambda: [pickle.loads(images[number % len(images)]) for number in range(events)]

    return way


def _pipeline(material: Material) -> Way:
    def way(batch: int, events: int) -> Run:
        pipeline = Pipeline(material.model)

        def run() -> None:
            for start, stop in spans(batch, events):
                pipeline.process(material.keys[start:stop], material.values[start:stop])

        return run

    return way
