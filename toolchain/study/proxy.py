"""What a cell costs at the outputs, told from its filters alone, without running the network.

To second order, and with layers taken as independent, the squared error of what matters
(`quantize.importance`) is

    sum_l sum_o  G_lo  (w_o - q_o) H_l (w_o - q_o)^T

H_l: covariance of the float model's input patches, each by the squared gradient at its place
(centred: the bias takes up the mean).  G_lo: sum over places of the squared gradient of channel o.
`Sensitivity` has G_lo times the mean square of a patch, so that is divided out again.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from toolchain.study.float_moments import LayerMoments


def layer_error(
    exact: NDArray[np.float32],
    stored: NDArray[np.float32],
    seen: LayerMoments,
    energy: NDArray[np.float64],
) -> float:
    """The term of one layer, 0 or more.

    exact, stored: float32 [O, H, W, I].  energy: float64 [O], as in `LayerSensitivity`.
    """
    difference = (exact - stored).reshape(len(exact), -1)
    squared = np.einsum("ok,ok->o", difference @ seen.covariance, difference, dtype=np.float64)
    if seen.energy <= 0:
        return 0.0
    return max(0.0, float(energy @ squared) / seen.energy)
