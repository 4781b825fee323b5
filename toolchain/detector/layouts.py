"""The layers of the known families in their order, for files that hold tensors and no modules.

A layer is a word: what it is, `/2` for a stride of 2, `<` and what it reads (default -1, the layer
before; negative counts back, others are indices).  `c` convolution, `c3` and `c3-` the CSP block
with and without shortcuts, `up` nearest x 2, `cat` concatenation, `mp` max pool 2, `spN` max pool
N of stride 1.  Sizes come from the tensors.  Source: the yaml files of YOLOv7 and YOLOv5 v6 or 7.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_WIDE = "cat<-1,-2"
_DOWN = "mp c c<-3 c/2 cat<-1,-3"
_ELAN = "c c<-2 c c c c cat<-1,-3,-5,-6 c"
_ELAN_W = "c c<-2 c c c c cat<-1,-2,-3,-4,-5,-6 c"
_ELAN_X = "c c<-2 c c c c c c cat<-1,-3,-5,-7,-8 c"
_ELAN_T = "c c<-2 c c cat<-1,-2,-3,-4 c"

LAYOUTS = {
    "yolov7": f"""
        c c/2 c c/2 {_ELAN} {_DOWN} {_ELAN} {_DOWN} {_ELAN} {_DOWN} {_ELAN}
        sppcspc c up c<37 {_WIDE} {_ELAN_W} c up c<24 {_WIDE} {_ELAN_W}
        {_DOWN},63 {_ELAN_W} {_DOWN},51 {_ELAN_W}
        rep<75 rep<88 rep<101 head<102,103,104""",
    "yolov7x": f"""
        c c/2 c c/2 {_ELAN_X} {_DOWN} {_ELAN_X} {_DOWN} {_ELAN_X} {_DOWN} {_ELAN_X}
        sppcspc c up c<43 {_WIDE} {_ELAN_X} c up c<28 {_WIDE} {_ELAN_X}
        {_DOWN},73 {_ELAN_X} {_DOWN},59 {_ELAN_X}
        c<87 c<102 c<117 head<118,119,120""",
    "yolov7-tiny": f"""
        c/2 c/2 {_ELAN_T} mp {_ELAN_T} mp {_ELAN_T} mp {_ELAN_T}
        c c<-2 sp5 sp9<-2 sp13<-3 cat<-1,-2,-3,-4 c cat<-1,-7 c
        c up c<21 {_WIDE} {_ELAN_T} c up c<14 {_WIDE} {_ELAN_T}
        c/2 cat<-1,47 {_ELAN_T} c/2 cat<-1,37 {_ELAN_T}
        c<57 c<65 c<73 head<74,75,76""",
    "yolov5": """
        c/2 c/2 c3 c/2 c3 c/2 c3 c/2 c3 sppf
        c up cat<-1,6 c3- c up cat<-1,4 c3-
        c/2 cat<-1,14 c3- c/2 cat<-1,10 c3- head<17,20,23""",
}


class Row(NamedTuple):
    """One layer: kind ("c", "cat", "sp", ...), what it reads, its stride, a pool's size."""

    kind: str
    sources: tuple[int, ...]
    stride: int
    size: int


def rows_of(family: str) -> tuple[Row, ...]:
    """The layers of one of LAYOUTS."""
    return tuple(_row(word) for word in LAYOUTS[family].split())


def _row(word: str) -> Row:
    match = re.fullmatch(r"(sp(?=\d)|c3-?|[a-z]+)(\d*)(/2)?(?:<([-\d,]+))?", word)
    assert match is not None, word
    kind, size, halved, sources = match.groups()
    read = tuple(int(source) for source in (sources or "-1").split(","))
    return Row(kind, read, 2 if halved else 1, int(size or 0))
