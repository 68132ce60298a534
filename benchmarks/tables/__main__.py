"""Writes every table again: `make tables`."""

from benchmarks.tables.blocks import filled
from benchmarks.tables.pages import PAGES

if __name__ == "__main__":
    for page, tables in PAGES.items():
        page.write_text(filled(page.read_text("utf-8"), tables), "utf-8")
