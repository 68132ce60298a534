"""Tables in the guides that are made from a report, each between two marks."""

from typing import Final

END: Final = "<!-- End of the table. -->\n"


def replaced(text: str, begin: str, table: str) -> str:
    """The guide's text with this table between its marks."""
    before, _, rest = text.partition(begin)
    _, _, after = rest.partition(END)
    return f"{before}{begin}\n{table}\n{END}{after}"
