"""The table of features in CONTRACT.md, as the tests read it."""

import re
from importlib.resources import files

TEXT = files("streamapp.features").joinpath("CONTRACT.md").read_text(encoding="utf-8")
_ROW = re.compile(r"^\| (\w+) \| [^|]*\| (-?[\d.e]+) \| ([\d.e]+) \|", re.MULTILINE)

#: Lowest and highest value of each feature, in the order of the table.
BOUNDS = {name: (float(low), float(high)) for name, low, high in _ROW.findall(TEXT)}
