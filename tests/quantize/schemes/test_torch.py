from __future__ import annotations

import numpy as np
import pytest

from tests.quantize.schemes.cases import Case, each_case, fitted, usual
from toolchain.quantize.granularity import Channel
from toolchain.quantize.schemes import entropy, moved

torch = pytest.importorskip("torch")


@each_case
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_torch_rounds_columns_as_numpy_does(case: Case, bits: int) -> None:
    weights = usual(1)
    parameters = fitted(case, weights, bits)
    there = moved(parameters, torch.as_tensor)
    flat = weights.reshape(len(weights), -1)
    tensor = torch.as_tensor(flat)
    order = np.random.default_rng(0).permutation(flat.shape[1])[:40]
    for column in order[:10]:
        codes, values = case.scheme.nearest(flat[:, column], parameters, column)
        codes_there, values_there = case.scheme.nearest(tensor[:, column], there, int(column))
        np.testing.assert_array_equal(codes_there.numpy(), codes)
        np.testing.assert_array_equal(values_there.numpy(), values)
    codes, values = case.scheme.nearest(flat[:, order], parameters, order)
    index = torch.as_tensor(order)
    codes_there, values_there = case.scheme.nearest(tensor[:, index], there, index)
    np.testing.assert_array_equal(codes_there.numpy(), codes)
    np.testing.assert_array_equal(values_there.numpy(), values)


def test_torch_counts_bits_as_numpy_does() -> None:
    weights = usual(2)
    parameters = entropy.fit(weights, 3, Channel())
    lengths = entropy.code_lengths(entropy.encode(weights, parameters))
    column = weights.reshape(len(weights), -1)[:, 7]
    codes, values = entropy.cheapest(column, parameters, 7, lengths)
    codes_there, values_there = entropy.cheapest(
        torch.as_tensor(column), moved(parameters, torch.as_tensor), 7, torch.as_tensor(lengths)
    )
    np.testing.assert_array_equal(codes_there.numpy(), codes)
    np.testing.assert_array_equal(values_there.numpy(), values)
