"""Stored partition state is read back whole, or refused; another model starts anew."""

import zlib
from dataclasses import replace

import numpy as np
import pytest

from streamapp.scoring.admission import StreamClock
from streamapp.scoring.artifact import ModelArtifact
from streamapp.scoring.half_space_trees import HalfSpaceState
from streamapp.scoring.partition_state import (
    LAYOUT_VERSION,
    PartitionState,
    PartitionStateError,
    moved,
    stored_cutoffs,
    stored_model,
    stored_risk_windows,
)
from tests.scoring.learning import learn_as_told


@pytest.fixture(scope="module")
def state(model: ModelArtifact) -> PartitionState:
    """State of a partition some windows old."""
    trees = model.half_space_trees
    state = PartitionState(
        model.version, HalfSpaceState.empty(trees), (1 << 40) + 7, StreamClock(123_456, 5)
    )
    rows = np.random.default_rng(1).normal(size=(250, len(model.feature_names)))
    learn_as_told(trees, state.half_space, rows, np.ones(250, dtype=np.bool_))
    return state


def test_state_is_read_back(state: PartitionState, model: ModelArtifact) -> None:
    """Offset, clock, run of refusals and all masses."""
    trees = model.half_space_trees
    read = PartitionState.from_bytes(state.to_bytes(trees), model.version, trees)
    assert state == read
    assert read.half_space.is_warm
    assert state.to_bytes(trees) == read.to_bytes(trees)


def test_taken_over_windows_are_read_back(state: PartitionState, model: ModelArtifact) -> None:
    """The last of them, each with its offset, in a layout of its own; another model has none."""
    trees = model.half_space_trees
    assert () == stored_risk_windows(state.to_bytes(trees))
    names = [f"2024-03-0{n}.0123456789abcdef01234567" for n in range(1, 7)]
    taken_over = replace(state)
    for offset, name in enumerate(names, start=40):
        taken_over.source_offset = offset
        taken_over.take_over(name)
    image = taken_over.to_bytes(trees)
    assert taken_over == PartitionState.from_bytes(image, model.version, trees)
    assert [*zip(names[2:], (43, 44, 45, 46), strict=True)] == [*stored_risk_windows(image)]
    assert () == PartitionState.from_bytes(image, "another", trees).risk_windows
    assert stored_risk_windows(image) == stored_risk_windows(moved(image, 7))
    assert model.version == stored_model(image)


def test_taken_over_cutoffs_are_read_back(state: PartitionState, model: ModelArtifact) -> None:
    """With or without windows beside them; another model keeps them."""
    trees = model.half_space_trees
    steered = replace(state)
    steered.take_cutoffs_over("2024-03-01T09/50.00/70.00/92.88")
    for _ in range(2):
        image = steered.to_bytes(trees)
        assert steered == PartitionState.from_bytes(image, model.version, trees)
        assert [("2024-03-01T09/50.00/70.00/92.88", (1 << 40) + 8)] == [*stored_cutoffs(image)]
        kept = PartitionState.from_bytes(image, "another", trees)
        assert ((), steered.cutoffs) == (kept.risk_windows, kept.cutoffs)
        steered.take_over("2024-03-01.0123456789abcdef01234567")
    assert () == stored_cutoffs(state.to_bytes(trees))


def test_the_initial_state_is_read_back(model: ModelArtifact) -> None:
    """No record yet: offset and stream time are -1."""
    trees = model.half_space_trees
    initial = PartitionState.initial(model.version, trees)
    assert (-1, StreamClock(-1, 0)) == (initial.source_offset, initial.clock)
    assert initial == PartitionState.from_bytes(initial.to_bytes(trees), model.version, trees)


def test_every_damaged_byte_is_found(state: PartitionState, model: ModelArtifact) -> None:
    """Nothing that was not written is read."""
    trees = model.half_space_trees
    image, accepted = state.to_bytes(trees), []
    for at in range(len(image)):
        damaged = bytearray(image)
        damaged[at] ^= 1 << at % 8
        try:
            PartitionState.from_bytes(bytes(damaged), model.version, trees)
        except PartitionStateError:
            continue
        accepted.append(at)
    assert [] == accepted


@pytest.mark.parametrize("cut", [0, 1, 50, 91, 92, 500, -1])
def test_state_cut_off_is_refused(state: PartitionState, model: ModelArtifact, cut: int) -> None:
    """A write that broke off is no state."""
    trees = model.half_space_trees
    with pytest.raises(PartitionStateError):
        PartitionState.from_bytes(state.to_bytes(trees)[:cut], model.version, trees)


def test_another_model_starts_its_trees_anew(state: PartitionState, model: ModelArtifact) -> None:
    """Position and clock hold whatever the model; masses belong to their trees alone."""
    trees = model.half_space_trees
    read = PartitionState.from_bytes(state.to_bytes(trees), "m-another", trees)
    assert (state.source_offset, state.clock) == (read.source_offset, read.clock)
    assert HalfSpaceState.empty(trees) == read.half_space
    assert "m-another" == read.model_version


def test_trees_of_another_shape_start_anew(state: PartitionState, model: ModelArtifact) -> None:
    """A model with fewer trees reads what the one before left: all of it but the masses."""
    trees = model.half_space_trees
    names = ("features", "thresholds", "usual")
    fewer = replace(trees, **{name: getattr(trees, name)[:3] for name in names})
    image = state.to_bytes(trees)
    read = PartitionState.from_bytes(image, "m-another", fewer)
    assert model.version == stored_model(image)
    assert (state.source_offset, state.clock) == (read.source_offset, read.clock)
    assert HalfSpaceState.empty(fewer) == read.half_space


def test_layout_1_keeps_its_position_and_starts_its_trees_anew(
    state: PartitionState, model: ModelArtifact
) -> None:
    """It held no account of who taught what; the rest of it is read."""
    trees = model.half_space_trees
    image = bytearray(state.to_bytes(trees))
    image[0] = 1
    image[4:8] = zlib.crc32(image[8:], zlib.crc32(image[:4])).to_bytes(4, "little")
    read = PartitionState.from_bytes(bytes(image), model.version, trees)
    assert (state.source_offset, state.clock) == (read.source_offset, read.clock)
    assert HalfSpaceState.empty(trees) == read.half_space
    assert LAYOUT_VERSION == read.to_bytes(trees)[0]
