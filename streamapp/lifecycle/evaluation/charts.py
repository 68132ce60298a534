"""Line charts as SVG: what a report draws, without a plotting library or a script in the page."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Final

from numpy.typing import ArrayLike

WIDTH: Final = 560
HEIGHT: Final = 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 56, 34, 12, 44

#: Okabe and Ito's palette, told apart by the colour-blind; blue is the verdict.
COLOURS: Final = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9")


@dataclass(frozen=True, slots=True)
class Axis:
    """A scale from low to high. is_log: equal ratios have equal lengths (low above 0)."""

    title: str
    low: float
    high: float
    ticks: Sequence[float]
    is_log: bool = False

    def place(self, value: float) -> float:
        """0 at low, 1 at high, bounded."""
        low, high = self.low, self.high
        if self.is_log:
            low, high, value = math.log(low), math.log(high), math.log(max(value, low))
        return min(max((value - low) / (high - low), 0.0), 1.0)


@dataclass(frozen=True, slots=True)
class Line:
    """One curve and its name; is_faint: a limit rather than a measurement."""

    name: str
    x: ArrayLike
    y: ArrayLike
    colour: str
    is_faint: bool = False
    has_marks: bool = False


def chart(x: Axis, y: Axis, lines: Sequence[Line], labels: Sequence[str] = ()) -> str:
    """An SVG of the lines; labels: words at the ticks of x instead of numbers."""
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(y.title)} by'
        f' {escape(x.title)}">'
    ]
    words = labels or [tick_words(tick) for tick in x.ticks]
    for tick, word in zip(x.ticks, words, strict=True):
        at = _across(x.place(tick))
        parts.append(
            f'<line class="grid" x1="{at}" x2="{at}" y1="{_TOP}" y2="{HEIGHT - _BOTTOM}"/>'
        )
        parts.append(_text(at, HEIGHT - _BOTTOM + 16, word, "middle"))
    for tick in y.ticks:
        at = _down(y.place(tick))
        parts.append(f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{at}" y2="{at}"/>')
        parts.append(_text(_LEFT - 6, at + 4, tick_words(tick), "end"))
    parts.append(_text((_LEFT + WIDTH - _RIGHT) / 2, HEIGHT - 8, x.title, "middle"))
    parts += [_drawn(x, y, line) for line in lines]
    parts.append("</svg>")
    return "".join(parts)


def legend(lines: Sequence[Line]) -> str:
    """Names beside their colours."""
    entries = "".join(
        f'<span><i style="background:{line.colour}"></i>{escape(line.name)}</span>'
        for line in lines
        if not line.is_faint
    )
    return f'<div class="legend">{entries}</div>'


def tick_words(value: float) -> str:
    """A share as a percentage, with as few digits as it takes."""
    return f"{value * 100:.4g} %"


def _drawn(x: Axis, y: Axis, line: Line) -> str:
    points = [
        (_across(x.place(a)), _down(y.place(b)))
        for a, b in zip(_floats(line.x), _floats(line.y), strict=True)
    ]
    path = " ".join(f"{a},{b}" for a, b in points)
    style = "faint" if line.is_faint else "line"
    drawn = f'<polyline class="{style}" stroke="{line.colour}" points="{path}"/>'
    if line.has_marks:
        drawn += "".join(
            f'<circle cx="{a}" cy="{b}" r="2.5" fill="{line.colour}"/>' for a, b in points
        )
    return drawn


def _floats(values: ArrayLike) -> list[float]:
    return [float(value) for value in values]  # type: ignore[union-attr,arg-type]


def _across(share: float) -> float:
    return round(_LEFT + share * (WIDTH - _LEFT - _RIGHT), 1)


def _down(share: float) -> float:
    return round(HEIGHT - _BOTTOM - share * (HEIGHT - _TOP - _BOTTOM), 1)


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
