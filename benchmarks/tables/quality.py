"""The tables of docs/quality.md, from `make quality-results` and `make drift`."""

from typing import Any, Final

from benchmarks.tables.blocks import Results, Rows, Tables, from_results, markdown

_BUDGETS: Final = {"MEDIUM": 0.02, "HIGH": 0.005, "CRITICAL": 0.001}
#: How far from its budget the share of a severity may be in a week.
_FACTOR: Final = 1.5
_WEEK_ROWS_MIN: Final = 0.5
_FIGURES: Final = {
    "auc_roc": "AUC",
    "card_precision_at_100": "Card Precision@100",
    "recall_at_0.1pct": "recall at 0.1 %",
    "recall_at_1pct": "at 1 %",
}


def scores(found: Results) -> str:
    """A line for each score, the verdict's first."""
    heading = f"{found['rows']:,} payments, {found['frauds']:,} fraud"
    rows: Rows = [(heading, "average precision (95 %)", *_FIGURES.values())]
    for name, figures in _named(found).items():
        low, high = found["intervals"][name]["average_precision"]
        precision = f"{figures['average_precision']:.3f} ({low:.3f} to {high:.3f})"
        rows.append(
            (name.replace("_", " "), precision, *(f"{figures[one]:.3f}" for one in _FIGURES))
        )
    return markdown(rows)


def severities(found: Results) -> str:
    """Shares of each severity over all and by whole week, and its precision."""
    weeks = _whole_weeks(found)
    rows: Rows = [
        (
            "or worse",
            "budget",
            "share",
            f"by week (n = {len(weeks)})",
            "weeks within 1.5",
            "precision",
        )
    ]
    for name, budget in _BUDGETS.items():
        shares = [week["severity"][name]["share_or_worse"] for week in weeks]
        within = sum(budget / _FACTOR <= share <= budget * _FACTOR for share in shares)
        overall = found["severity"][name]
        rows.append(
            (
                name,
                f"{budget:.1%}",
                f"{overall['share_or_worse']:.2%}",
                f"{min(shares):.2%} to {max(shares):.2%}",
                f"{within}",
                f"{overall['precision']:.3f}",
            )
        )
    return markdown(rows)


def scenarios(found: Results) -> str:
    """Average precision of each kind of fraud against genuine payments."""
    names = ("verdict", "label_fed", "label_free")
    rows: Rows = [("kind", "fraud", *(name.replace("_", " ") for name in names))]
    for one in found["scenarios"]:
        precision = one["average_precision"]
        rows.append(
            (
                str(one["number"]),
                f"{one['frauds']:,}",
                *(f"{precision[name]:.3f}" for name in names),
            )
        )
    return markdown(rows)


def drift(found: Results) -> str:
    """Of each kind of traffic, the mean over seeds, and the worst shortfall."""
    rows: Rows = [
        ("fraud", "n", "ensemble", "supervised", "verdict", "below the best member, worst")
    ]
    for kind in dict.fromkeys(one["kind"] for one in found["runs"]):
        runs = [one for one in found["runs"] if one["kind"] == kind]
        short = [max(one["members"].values()) - one["verdict"] for one in runs]
        means = (
            sum(values) / len(runs)
            for values in (
                [one["members"]["label_free"] for one in runs],
                [one["members"]["label_fed"] for one in runs],
                [one["verdict"] for one in runs],
            )
        )
        cells = (*(f"{mean:.3f}" for mean in means), f"{max(0.0, *short):.3f}")
        rows.append((kind, str(len(runs)), *cells))
    return markdown(rows)


def _named(found: Results) -> dict[str, dict[str, float]]:
    """Figures by name of the score."""
    first = {name: found[name] for name in ("verdict", "label_fed", "label_free") if found[name]}
    named: dict[str, dict[str, float]] = {**first, **found["members"], **found["baselines"]}
    return named


def _whole_weeks(found: Results) -> list[dict[str, Any]]:
    """Those with at least half as many payments as the largest: the last may be of a day."""
    most = max(week["rows"] for week in found["weeks"])
    return [week for week in found["weeks"] if week["rows"] >= _WEEK_ROWS_MIN * most]


TABLES: Final[Tables] = {
    "quality_handbook": from_results("quality_handbook", scores),
    "quality_handbook_severities": from_results("quality_handbook", severities),
    "quality_handbook_scenarios": from_results("quality_handbook", scenarios),
    "quality_sparkov": from_results("quality_sparkov", scores),
    "quality_sparkov_severities": from_results("quality_sparkov", severities),
    "quality_handbook_unlabelled": from_results("quality_handbook_unlabelled", severities),
    "quality_sparkov_unlabelled": from_results("quality_sparkov_unlabelled", severities),
    "quality_book": from_results("quality_book", scores),
    "quality_paysim": from_results("quality_paysim", scores),
    "drift": from_results("drift", drift),
}
