"""The AP-against-size chart of a report as an SVG file of its own, for documentation.

python -m toolchain.report.picture runs/dev300 docs/results.svg
"""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Final

from targets.files import write_whole
from toolchain.report.html import HtmlWriter
from toolchain.report.summarise import summarise
from toolchain.runs import RunFolder

_STYLE: Final = """<style>
text { font: 11.5px system-ui, sans-serif; fill: #596273 }
text.name { font-size: 12.5px; font-weight: 600; fill: #161a22 }
.grid { stroke: #e2e6ec; fill: none } .line { stroke: #596273; fill: none }
.whisker { fill: none; stroke: var(--s); stroke-width: 1.5 } circle { fill: var(--s) }
.s0 { --s: #64748b } .s1 { --s: #12897b } .s2 { --s: #d9730d }
</style><rect width="100%" height="100%" fill="#ffffff"/>"""
_CHART: Final = re.compile(r'<svg class="chart"([^>]*)>(.*?)</svg>', re.S)


def picture(folder: Path) -> str:
    """The first chart of the report of a run folder, with its style inside."""
    found = _CHART.search(HtmlWriter().render(summarise(RunFolder.open(folder).load())))
    assert found is not None
    return f'<svg xmlns="http://www.w3.org/2000/svg"{found[1]}>{_STYLE}{found[2]}</svg>\n'


if __name__ == "__main__":
    write_whole(Path(sys.argv[2]), picture(Path(sys.argv[1])).encode())
