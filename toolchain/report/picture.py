"""The AP-against-size chart of a report as an SVG file of its own, for documentation.

python -m toolchain.report.picture runs/dev300 docs/results.svg
"""

from __future__ import annotations

import sys
from pathlib import Path

from targets.files import write_whole
from toolchain.report import svg
from toolchain.report.html import HtmlWriter
from toolchain.report.summarise import summarise
from toolchain.runs import RunFolder


def picture(folder: Path) -> str:
    """The first chart of the report of a run folder, with its style inside."""
    return svg.standalone(HtmlWriter().render(summarise(RunFolder.open(folder).load())))


if __name__ == "__main__":
    write_whole(Path(sys.argv[2]), picture(Path(sys.argv[1])).encode())
