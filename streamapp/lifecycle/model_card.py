"""The model card: what a model is, made from, made for, and what is not known of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from streamapp.domain.verdict import SEVERITIES
from streamapp.features.contract import NEW_USER_EVENTS
from streamapp.scoring.artifact import ModelArtifact

NAME: Final = "MODEL_CARD.md"


@dataclass(frozen=True, slots=True)
class TrainingFile:
    """A recording a model was trained on. name: as the command names it; rows: read of it."""

    name: str
    sha256: str
    rows: int
    is_sample: bool


def model_card(
    model: ModelArtifact,
    files: Sequence[TrainingFile],
    severities: Sequence[int],
    command: str,
) -> str:
    """The card in Markdown. severities: how many rows of the reference got each severity."""
    return _CARD.format(
        version=model.version,
        files="\n".join(f"| {file.name} | {file.rows:,} | `{file.sha256}` |" for file in files),
        origin=_origin(files),
        rows=f"{model.training.rows:,}",
        contract=model.feature_contract,
        inputs="\n".join(f"- `{name}`" for name in model.inputs),
        limit=f"{model.global_amount_limit:,.2f}",
        settings="\n".join(
            f"| {name} | {value} |" for name, value in model.training.hyperparameters.items()
        ),
        libraries=", ".join(f"{name} {at}" for name, at in model.training.libraries.items()),
        command=command,
        supervised=_supervised(model),
        new_user=NEW_USER_EVENTS,
        shares="\n".join(
            f"| {severity.value} | {count:,} | {count / sum(severities):.2%} |"
            for severity, count in zip(SEVERITIES, severities, strict=True)
        ),
    )


def _origin(files: Sequence[TrainingFile]) -> str:
    if all(file.is_sample for file in files):
        return (
            "All of it is **simulated**: no real person, card or merchant is in it. Origin, licence"
            " and\ncitation: `streamapp/replay/sample/ATTRIBUTION.md`."
        )
    return (
        "Who trained the model has to say here where the recordings come from, what people they"
        " cover and\nwhether they may be used so. Recordings named `sample:` are simulated"
        " (`streamapp/replay/sample/ATTRIBUTION.md`)."
    )


def _supervised(model: ModelArtifact) -> str:
    """What labels added; nothing where there were none."""
    if model.supervised is None:
        return ""
    made, table = model.supervised.training, model.supervised.table
    return _SUPERVISED.format(
        rows=f"{made.rows:,}",
        frauds=f"{made.frauds:,}",
        delay=made.windows_delay_days,
        day=str(np.datetime64(table.day, "D")),
        fed=f"{made.supervised_average_precision:.3f}",
        free=f"{made.ensemble_average_precision:.3f}",
        weight=f"{np.exp(model.supervised.caution):.3g}",
        joined=f"{made.verdict_average_precision:.3f}",
        settings="\n".join(f"| {name} | {value} |" for name, value in made.hyperparameters.items()),
    )


_SUPERVISED: Final = """\
## The supervised model

Gradient-boosted trees (scikit-learn's histogram gradient boosting) on all features and on the risk
windows of merchants, categories and devices: traffic and known frauds of 1, 7 and 30 days that end
{delay} days before the payment's day. Trained on {rows} payments with labels, {frauds} of them
fraud, each with the windows of its own day. It serves with the windows of {day}, which grow old:
train again every day or week.

The verdict's risk is of what it and the ensemble say, which speaks for fraud of kinds that labels
don't know; the ensemble's tail share counts {weight} times what it is. On the newest payments with
labels, average precision of such a model trained on the older ones is {fed}, the ensemble's {free},
and of both together {joined}.

| setting | value |
|---|---|
{settings}

"""

_CARD: Final = """\
# Model card: {version}

## What it is

An ensemble without labels that says how unusual a card payment is for its user and among all
payments: an isolation forest (Liu, Ting, Zhou, ICDM 2008), fixed after training, and half-space
trees (Tan, Ting, Liu, IJCAI 2011), which go on learning, one set for each partition of the topic.
Calibration curves turn their scores into the share of reference traffic that scores as high, and
that into the risk score. Arrays and a manifest with digests; nothing is unpickled.

## Data

| recording | rows | SHA-256 of the file |
|---|---|---|
{files}

{rows} rows of the reference, in the order of the recordings, from their beginning. Each recording
is a population of its own: users of different recordings never share a profile; the reference is
the union of the rows. The ensemble reads no labels.

{origin}

## Features and hyperparameters

Feature contract {contract}. An amount above {limit} raises `global_amount_flag`. Of all features,
the models look at

{inputs}

| setting | value |
|---|---|
{settings}

Made with {libraries}.

{supervised}## How to make it again

    {command}

On the same machine this gives the same bytes and so the same version. Other processors or library
versions may round differently: another version, the same model for all practical purposes.

## Intended use

Ranking card payments for people to review, as one layer among others, and trying out streamapp.
Before it decides anything about real payments, train on your own traffic and measure there.

## Measured

Severities of the reference itself, the very rows it was trained on:

| severity | rows | share |
|---|---|---|
{shares}

Nothing else is claimed; in particular not how much fraud it finds in your traffic.

## Limits

- The severities' shares hold for traffic like the reference as a whole. One recording alone, or
  other traffic, gets more or fewer alerts: amounts are compared across all payments, in whatever
  currency they are.
- It finds the unusual, not fraud. Fraud that looks like the user's usual payments is not found, and
  unusual honest payments are flagged.
- A user's first {new_user} payments are scored in `cold_start` mode; half-space trees have no
  opinion before their first window in a partition is full.
- Device, country, category and place are not looked at unless named above.
- It was not examined for differences between groups of people: the recordings hold nothing of the
  kind.
"""
