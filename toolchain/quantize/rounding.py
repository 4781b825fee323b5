"""Second-order rounding: each rounded weight's error is made up for by those not yet rounded.

GPTQ (Frantar et al., arXiv 2210.17323; the update is Optimal Brain Surgeon's): columns k of the
filter are rounded one after another, and the error  e = (w_k - q_k) / U_kk  is taken off the
remaining columns along row k of U, where U^T U = H^-1, upper triangular.  Columns go by falling
diagonal of H; blocks of them are updated lazily.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    import torch

DAMPING: Final = 0.01
"""Share of H's mean diagonal that is added to it."""

BLOCK: Final = 128
_MOST_DAMPING: Final = 1e3
_log = logging.getLogger(__name__)

Nearest = Callable[["torch.Tensor", int, float], "torch.Tensor"]
"""(weights of one column [O], its index k, the price of an error in it) -> what is stored."""


def round_second_order(
    weights: torch.Tensor, covariance: torch.Tensor, nearest: Nearest, *, damping: float = DAMPING
) -> torch.Tensor:
    """Rounded weights, float32 [O, K], that keep  sum (w - q) H (w - q)^T  small.

    weights: float32 [O, K].  covariance: H, float32 [K, K], on the same device.  nearest: rounds
    a column; the price is 1 / U_kk^2 over its mean, by which a squared error there counts.
    """
    import torch

    with torch.no_grad():
        order, upper = _factor(covariance, damping)
        prices = upper.diagonal() ** -2
        prices = (prices / prices.mean()).tolist()
        columns = order.tolist()
        # A row a column of the filter: each step then reads and writes memory in one piece.
        work = weights.T[order].contiguous()
        done = torch.empty_like(work)
        for start in range(0, len(columns), BLOCK):
            end = min(start + BLOCK, len(columns))
            block = work[start:end]
            errors = torch.empty_like(block)
            for at in range(start, end):
                column = block[at - start]
                done[at] = nearest(column, columns[at], prices[at])
                error = torch.sub(column, done[at], out=errors[at - start])
                error /= upper[at, at]
                block[at - start + 1 :].addr_(upper[at, at + 1 : end], error, alpha=-1)
            work[end:].addmm_(upper[start:end, end:].T, errors, alpha=-1)
        rounded = torch.empty_like(done)
        rounded[order] = done
    return rounded.T.contiguous()


def gain(covariance: torch.Tensor, *, damping: float = DAMPING) -> float:
    """Mean of 1 / U_kk^2 over the mean of H_kk: the share of the error that is left (0..1)."""
    _, upper = _factor(covariance, damping)
    return float((upper.diagonal() ** -2).mean() / covariance.diagonal().mean().clamp(min=1e-30))


def _factor(covariance: torch.Tensor, damping: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The order of columns, and U of H in this order.

    With J the reversal and J H J = L L^T, R = J L J is upper triangular and H = R R^T, so that
    H^-1 = R^-T R^-1 and U = R^-1: one factorization and one triangular inverse.
    """
    import torch

    base = float(covariance.diagonal().mean())
    identity = torch.eye(len(covariance), device=covariance.device)
    if base <= 0:  # a layer that only ever sees one value
        return torch.arange(len(covariance), device=covariance.device), identity
    order = torch.argsort(covariance.diagonal(), descending=True, stable=True)
    backwards = covariance[order][:, order].flip(0, 1)
    share = damping
    while share <= _MOST_DAMPING:
        damped = backwards.clone()
        damped.diagonal().add_(share * base)
        lower, failed = torch.linalg.cholesky_ex(damped)
        if not failed:
            return order, torch.linalg.solve_triangular(lower.flip(0, 1), identity, upper=True)
        share *= 4
        _log.debug("second moments need %g of damping", share)
    return order, identity
