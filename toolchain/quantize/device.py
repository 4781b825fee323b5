"""How torch computes here."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


@contextlib.contextmanager
def quick_products() -> Iterator[None]:
    """Products of float32 matrices, convolutions among them, may be made of bfloat16 numbers.

    Processors that have them are twice as fast then; sums stay float32.  Afterwards, whatever
    happens, products are as they were for others.
    """
    import torch

    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision(before)
