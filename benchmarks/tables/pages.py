"""Which page has which tables."""

from pathlib import Path
from typing import Final

from benchmarks.tables import api, campaigns, peers, performance, quality, readme
from benchmarks.tables.blocks import Tables

ROOT: Final = Path(__file__).parents[2]
DOCS: Final = ROOT / "docs"

PAGES: Final[dict[Path, Tables]] = {
    ROOT / "README.md": readme.TABLES,
    DOCS / "performance.md": performance.TABLES,
    DOCS / "api.md": api.TABLES,
    DOCS / "peers.md": peers.TABLES,
    DOCS / "exactly-once.md": campaigns.TABLES,
    DOCS / "stress.md": campaigns.TABLES,
    DOCS / "quality.md": quality.TABLES,
}
