"""The report as one HTML page: no script, nothing loaded from elsewhere."""

from collections.abc import Iterable, Sequence
from html import escape
from typing import Final

import msgspec
import numpy as np

from streamapp.lifecycle.evaluation.backtest import BASELINES, LABEL_FED, LABEL_FREE
from streamapp.lifecycle.evaluation.charts import COLOURS, Axis, Line, chart, legend, tick_words
from streamapp.lifecycle.evaluation.ranking import ALERT_SHARES, FIGURES, VALUE_FIGURES
from streamapp.lifecycle.evaluation.report import BUDGETS, Evaluation, Judged

#: How far from its budget a severity may be in a week.
BUDGET_FACTOR: Final = 1.5

WORDS: Final = {
    "average_precision": "average precision",
    "auc_roc": "AUC",
    "recall_at_0.1pct": "recall at 0.1 %",
    "recall_at_1pct": "recall at 1 %",
    "precision_at_0.1pct": "precision at 0.1 %",
    "precision_at_1pct": "precision at 1 %",
    "card_precision_at_100": "Card Precision@100",
    "value_recall_at_0.1pct": "share of the amount at 0.1 %",
    "value_recall_at_1pct": "share of the amount at 1 %",
}
_TENTHS: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)


def page(evaluation: Evaluation, title: str, command: str) -> str:
    """The whole page. title: what was evaluated; command: what makes the page again."""
    document = msgspec.json.encode(evaluation.document()).decode().replace("<", "\\u003c")
    return _PAGE.format(
        title=escape(title),
        command=escape(command),
        summary=_summary(evaluation),
        scores=_scores(evaluation),
        curves=_curves(evaluation),
        severities=_severities(evaluation),
        weeks=_weeks(evaluation),
        scenarios=_scenarios(evaluation),
        document=document,
    )


def score_words(name: str) -> str:
    """A score's name as people say it."""
    return name.replace("_", " ") + (" alone" if name in BASELINES else "")


def figure_words(value: float | None, interval: tuple[float, float] | None = None) -> str:
    """Three decimals, with the 95 % interval where there is one."""
    if value is None:
        return "-"
    return f"{value:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _summary(evaluation: Evaluation) -> str:
    first, last = (_day(at) for at in (evaluation.start_ms, evaluation.stop_ms))
    models = "one given, none trained"
    if evaluation.models:
        models = f"{evaluation.models} trained, {evaluation.supervised_models} of them on labels"
    return (
        f"{evaluation.rows:,} transactions from {first} to {last}, {evaluation.frauds:,} of them"
        f" fraud ({evaluation.frauds / evaluation.rows:.3%}); {evaluation.history:,} before them as"
        f" history; models: {models}. Below each figure: its 95 % interval, from a bootstrap"
        " over users (over days for Card Precision)."
    )


def _scores(evaluation: Evaluation) -> str:
    head = ["score", *(WORDS[name] for name in (*FIGURES, *VALUE_FIGURES))]
    return _table(head, (_score_row(one) for one in evaluation.judged.values()))


def _told_by_the_verdict(evaluation: Evaluation) -> str:
    """The score that is the verdict's own: drawn twice it would only hide it."""
    return LABEL_FED if LABEL_FED in evaluation.judged else LABEL_FREE


def _score_row(judged: Judged) -> list[str]:
    return [
        score_words(judged.name),
        *(
            figure_words(judged.figures[name], judged.intervals.get(name))
            for name in (*FIGURES, *VALUE_FIGURES)
        ),
    ]


def _curves(evaluation: Evaluation) -> str:
    hidden = _told_by_the_verdict(evaluation)
    shown = [one for one in evaluation.judged.values() if one.name != hidden]
    colours = dict(zip((one.name for one in shown), COLOURS, strict=False))
    least = 1.0 / evaluation.rows
    shares = [share for share in (1e-5, 1e-4, 1e-3, 1e-2, 1e-1, 1.0) if share >= least]
    recall = Axis("recall", 0.0, 1.0, _TENTHS)
    precision = Axis("precision", 0.0, 1.0, _TENTHS)
    by_recall = [
        Line(score_words(one.name), one.curve.recall, one.curve.precision, colours[one.name])
        for one in shown
    ]
    by_share = [
        Line(score_words(one.name), one.curve.share, one.curve.recall, colours[one.name])
        for one in shown
    ]
    alerts = Axis("alerts, share of transactions", least, 1.0, shares, is_log=True)
    return (
        legend(by_recall)
        + '<div class="charts">'
        + _figure("Precision by recall", chart(recall, precision, by_recall))
        + _figure("Recall by share of alerts", chart(alerts, recall, by_share))
        + "</div>"
    )


def _severities(evaluation: Evaluation) -> str:
    head = ["severity", "budget", "share, or worse", "share", "precision", "recall"]
    rows = [
        [
            name,
            tick_words(BUDGETS[name]),
            f"{one.share_or_worse:.3%}",
            f"{one.share:.3%}",
            figure_words(one.precision),
            figure_words(one.recall),
        ]
        for name, one in evaluation.severity.items()
    ]
    return _table(head, rows)


def _weeks(evaluation: Evaluation) -> str:
    head = ["week from", "transactions", "fraud", "average precision"]
    for name in BUDGETS:
        head += [f"{name} or worse", "precision"]
    rows = []
    for week in evaluation.weeks:
        row = [_day(week.start_ms), f"{week.rows:,}", f"{week.frauds:,}"]
        row.append(figure_words(week.average_precision))
        for one in week.severity.values():
            row += [f"{one.share_or_worse:.3%}", figure_words(one.precision)]
        rows.append(row)
    return _week_chart(evaluation) + _table(head, rows)


def _week_chart(evaluation: Evaluation) -> str:
    weeks = evaluation.weeks
    if len(weeks) < 2:
        return ""
    numbers = list(range(len(weeks)))
    step = (len(weeks) + 5) // 6
    across = Axis("week from", 0.0, len(weeks) - 1.0, numbers[::step])
    up = Axis("share", 1e-4, 1e-1, (1e-4, 1e-3, 5e-3, 2e-2, 1e-1), is_log=True)
    lines = []
    for (name, budget), colour in zip(BUDGETS.items(), COLOURS, strict=False):
        shares = [week.severity[name].share_or_worse for week in weeks]
        lines.append(Line(f"{name} or worse", numbers, shares, colour, has_marks=True))
        for limit in (budget / BUDGET_FACTOR, budget * BUDGET_FACTOR):
            lines.append(Line("", (0, len(weeks) - 1), (limit, limit), colour, is_faint=True))
    drawn = chart(across, up, lines, [_day(week.start_ms) for week in weeks[::step]])
    title = f"Share of each severity by week; dashed: {BUDGET_FACTOR} times from its budget"
    return legend(lines) + '<div class="charts">' + _figure(title, drawn) + "</div>"


def _scenarios(evaluation: Evaluation) -> str:
    if not evaluation.scenarios:
        return ""
    names = [name for name in evaluation.judged if name != _told_by_the_verdict(evaluation)]
    head = ["scenario", "fraud", *(score_words(name) for name in names)]
    rows = [
        [
            str(one.number),
            f"{one.frauds:,}",
            *(
                f"{figure_words(one.average_precision.get(name))} /"
                f" {figure_words(one.recall_at_1pct.get(name))}"
                for name in names
            ),
        ]
        for one in evaluation.scenarios
    ]
    note = (
        "<p>Average precision / recall at 1 %, of each kind of fraud against genuine traffic.</p>"
    )
    return f"<h2>By scenario</h2>{note}{_table(head, rows)}"


def _figure(title: str, drawn: str) -> str:
    return f"<figure><figcaption>{escape(title)}</figcaption>{drawn}</figure>"


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    cells = "".join(f"<th>{escape(word)}</th>" for word in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(cell)}</td>" for cell in row) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{cells}</tr>{body}</table></div>'


def _cell(words: str) -> str:
    """The words; what they have in brackets stands below, small."""
    value, bracket, rest = words.partition(" (")
    return escape(value) + (f"<small>{escape(rest.rstrip(')'))}</small>" if bracket else "")


def _day(time_ms: int) -> str:
    return str(np.datetime64(time_ms, "ms").astype("datetime64[D]"))


assert {*ALERT_SHARES} == {"0.1pct", "1pct"}, "WORDS name these shares"

_PAGE: Final = """\
<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; --rule: #8884; --dim: #888; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 74rem;
  margin: 2rem auto; padding: 0 1rem; }}
h1 {{ font-size: 1.5rem; }} h2 {{ font-size: 1.15rem; margin-top: 2.2rem; }}
.wide {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: .85rem; }}
th, td {{ padding: .3rem .7rem; border-bottom: 1px solid var(--rule); text-align: right;
  vertical-align: bottom; }}
th:first-child, td:first-child {{ text-align: left; white-space: nowrap; }}
td small {{ display: block; color: var(--dim); white-space: nowrap; font-size: .75rem; }}
.charts {{ display: flex; flex-wrap: wrap; gap: 1.5rem; }}
figure {{ flex: 1 1 26rem; max-width: 36rem; margin: .5rem 0 1rem; }}
figcaption {{ font-weight: 600; font-size: .9rem; }}
svg {{ width: 100%; height: auto; font-size: 11px; fill: currentColor; }}
.grid {{ stroke: var(--rule); }} .line {{ fill: none; stroke-width: 1.8; }}
.faint {{ fill: none; stroke-width: 1; stroke-dasharray: 3 4; opacity: .7; }}
.legend span {{ margin-right: 1.2rem; font-size: .85rem; white-space: nowrap; }}
.legend i {{ display: inline-block; width: .9em; height: .9em; margin-right: .4em;
  border-radius: 2px; vertical-align: -1px; }}
code {{ font-size: .85rem; overflow-wrap: anywhere; }} .dim {{ color: var(--dim); }}
</style>
</head>
<body>
<h1>{title}</h1>
<p>{summary}</p>
<h2>How well each score ranks</h2>
{scores}
{curves}
<h2>Severities of the verdicts</h2>
<p>A budget is the share of transactions that may have the severity or a worse one; precision and
recall are of those.</p>
{severities}
<h2>By week</h2>
{weeks}
{scenarios}
<p class="dim">Made by <code>{command}</code></p>
<script type="application/json" id="figures">{document}</script>
</body>
</html>
"""
