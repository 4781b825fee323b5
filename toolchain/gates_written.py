"""The outcome of `halfbyte check` as JSON, JUnit XML, Markdown and lines for a terminal."""

from __future__ import annotations

import dataclasses
import re
from typing import Any, Final
from xml.etree import ElementTree as ET

from toolchain.compare.written import cell
from toolchain.gates import Checked, Gate

SCHEMA: Final = "halfbyte.check"
VERSION: Final = 1
_NOT_XML: Final = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_json(checked: Checked) -> dict[str, Any]:
    """Plain JSON values."""
    return {
        "schema": SCHEMA,
        "version": VERSION,
        "passed": checked.passed,
        "folder": checked.folder,
        "against": checked.against,
        "gates": [dataclasses.asdict(gate) for gate in checked.gates],
    }


def to_junit(checked: Checked) -> str:
    """A test suite for each model, a test case for each gate, as CI services read it."""
    top = ET.Element("testsuites", name="halfbyte check")
    for model in dict.fromkeys(gate.model for gate in checked.gates):
        gates = [gate for gate in checked.gates if gate.model == model]
        failed = sum(not gate.passed for gate in gates)
        suite = ET.SubElement(
            top,
            "testsuite",
            name=_xml(model),
            tests=str(len(gates)),
            failures=str(failed),
            errors="0",
            skipped="0",
        )
        for gate in gates:
            _case(suite, gate)
    ET.indent(top)
    text = ET.tostring(top, encoding="unicode")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n{text}\n'


def to_markdown(checked: Checked) -> str:
    """A table for a pull request."""
    verdict = "passed" if checked.passed else "**failed**"
    lines = [
        f"### halfbyte check: {verdict}",
        "",
        f"{cell(checked.folder)}, AP drops against {cell(checked.against)}",
        "",
        "| | model | gate | limit | measured | |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for gate in checked.gates:
        cells = [gate.model, gate.name, gate.limit, gate.figure, gate.why]
        mark = ":white_check_mark:" if gate.passed else ":x:"
        lines.append(f"| {mark} | {' | '.join(map(cell, cells))} |")
    return "\n".join(lines) + "\n"


def line(gate: Gate) -> str:
    """ "peak memory: 118.2 MB, at most 200.0 MB"."""
    why = f" ({gate.why})" if gate.why else ""
    return f"{gate.model}, {gate.name}: {gate.figure}, limit {gate.limit}{why}"


def _case(suite: ET.Element, gate: Gate) -> None:
    case = ET.SubElement(suite, "testcase", classname=_xml(gate.model), name=_xml(gate.name))
    said = _xml(line(gate))
    if not gate.passed:
        ET.SubElement(case, "failure", message=said, type="CheckFailed").text = said
    else:
        ET.SubElement(case, "system-out").text = said


def _xml(text: str) -> str:
    """Without what no XML file may hold."""
    return _NOT_XML.sub("\ufffd", text)
