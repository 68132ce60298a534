"""What stands between `<!-- table: NAME -->` and `<!-- end -->` of a page is made from results."""

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import msgspec

from benchmarks.report import RESULTS

Results = dict[str, Any]
Rows = list[Sequence[str]]
Tables = Mapping[str, Callable[[], str]]

_BLOCK: Final = re.compile(r"(<!-- table: (\w+) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(text: str, tables: Tables) -> str:
    """The page's text with each of its tables made anew; KeyError names one nobody makes."""

    def block(found: re.Match[str]) -> str:
        before, name, after = found.groups()
        return f"{before}\n{tables[name]()}\n\n{after}"

    return _BLOCK.sub(block, text)


def results(name: str) -> Results | None:
    """The committed results of a benchmark, None where it was not run."""
    path = RESULTS / f"{name}.json"
    return msgspec.json.decode(path.read_bytes()) if path.exists() else None


def from_results(name: str, made: Callable[[Results], str]) -> Callable[[], str]:
    """A table made from one benchmark's results, or the word that there are none."""

    def table() -> str:
        found = results(name)
        return "Not measured yet." if found is None else made(found)

    return table


def markdown(rows: Rows, left: Collection[int] = (0,)) -> str:
    """A table whose first row is its heading; columns but `left` are aligned to the right."""
    rule = ["---" if column in left else "--:" for column in range(len(rows[0]))]
    return "\n".join(f"| {' | '.join(row)} |" for row in (rows[0], rule, *rows[1:]))
