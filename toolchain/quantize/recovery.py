"""Accuracy recovery without labels: layer after layer, each on what the layers before it became.

For every convolution, in the order of execution: take second moments of its input on calibration
pictures that went through the already quantized part (`walk`, `moments`), fit the scheme's
parameters, round by second order (`rounding`), take the mean shift off the bias, and send all
pictures through the result.  Steps of entropy-coded filters follow `steps`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.progress import SILENT, Progress
from toolchain.errors import DataError, NotFinite
from toolchain.quantize import moments, rounding
from toolchain.quantize.device import CPU, as_array, as_tensor, quick_products
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.methods import Method
from toolchain.quantize.rate import Pacing
from toolchain.quantize.recovered import Recovered, fit, recovered
from toolchain.quantize.scales import Scale
from toolchain.quantize.schemes import SCHEMES, entropy, moved
from toolchain.quantize.sensitivity import Sensitivity
from toolchain.quantize.walk import Walk

if TYPE_CHECKING:
    import torch

PATCHES: Final = 512
"""Positions of a picture from which second moments of a layer are taken."""

Array = NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class Settings:
    """second_order: round by GPTQ, else to nearest.  correct_bias: take mean shifts off.
    patches: positions a picture.  damping: of second moments.  rate: how much of the price of
    bits takes part in rounding entropy-coded weights, 0 to 1; at equal file size it did not help
    (docs/how-it-works.md).  epochs: walks over the pictures in
    which scales and biases are learned afterwards (`learned`).
    """

    second_order: bool = True
    correct_bias: bool = True
    patches: int = PATCHES
    damping: float = rounding.DAMPING
    rate: float = 0.0
    epochs: int = 0
    seed: int = 0


BEST: Final = Settings(patches=2 * PATCHES, epochs=4)


def recover(
    graph: FloatGraph,
    scales: Mapping[int, Scale],
    pictures: Sequence[NDArray[np.float32]],
    methods: Mapping[int, Method],
    floors: Mapping[int, NDArray[np.float64]],
    *,
    sensitivity: Sensitivity | None = None,
    pace: Pacing | None = None,
    settings: Settings | None = None,
    device: str = CPU,
    progress: Progress = SILENT,
) -> dict[int, Recovered]:
    """Every convolution, by operator index.

    scales: of int8 activations; {} for float ones.  pictures: float32 [1, h, w, 3], letterboxed;
    those of `sensitivity`, in its order, where that is given.  floors: smallest scale of each
    channel that its int32 bias allows, [O].  pace: keeps entropy-coded layers to a number of bits.
    device: where torch computes.
    Raises DataError (pictures of another size or number), NotFinite (a picture, or a layer whose
    inputs are beyond half precision), UnsupportedModel.
    """
    import torch

    _check(graph, pictures, sensitivity)
    settings = settings or Settings()
    walk = Walk(graph, scales, pictures, device=device)
    rng = np.random.default_rng(settings.seed)
    names = graph.layer_names()
    found: dict[int, Recovered] = {}
    layers = len(graph.convolutions)
    with quick_products(), progress.task("recovering", total=layers, unit="layers") as task:
        for operation in graph.operations:
            if operation.kind == "CONV_2D":
                felt = None if sensitivity is None else sensitivity.layers[names[operation.index]]
                method = methods[operation.index]
                paced = pace if method.scheme == entropy.NAME else None
                seen = moments.gather(
                    walk,
                    operation,
                    None if felt is None else felt.positions,
                    patches=settings.patches,
                    rng=rng,
                )
                if not torch.isfinite(seen.covariance).all():
                    raise NotFinite(
                        f"layer {names[operation.index]}: its inputs are beyond half precision",
                        hint="Quantize without recovery: `--recovery none`.",
                    )
                enough = False
                while not enough:
                    steps = None if paced is None else paced.steps(operation.index)
                    one = _layer(
                        graph, operation, method, seen, floors[operation.index], steps, settings
                    )
                    enough = paced is None or paced.spent(operation.index, one.coded)
                found[operation.index] = one
                walk.replica.set_filter(operation, one.weights)
                walk.replica.set_bias(operation, one.bias)
                task.note(names[operation.index])
                task.advance()
            walk.pass_by(operation)
    return found


def _check(
    graph: FloatGraph, pictures: Sequence[NDArray[np.float32]], sensitivity: Sensitivity | None
) -> None:
    wanted = (1, *graph.imgsz, 3)
    for number, picture in enumerate(pictures):
        if picture.shape != wanted:
            raise DataError(
                f"calibration picture {number} has shape {list(picture.shape)}",
                hint=f"The model takes {list(wanted)}.",
            )
        if not np.isfinite(picture).all():
            raise NotFinite(
                f"calibration picture {number} holds NaN or infinity", hint="Leave it out."
            )
    if sensitivity is not None and len(pictures) != len(sensitivity.images):
        raise DataError(
            f"{len(pictures)} pictures, and a sensitivity of {len(sensitivity.images)}",
            hint="Give the pictures that the sensitivity was measured on.",
        )


def _layer(
    graph: FloatGraph,
    operation: Operation,
    method: Method,
    seen: moments.Moments,
    floor: NDArray[np.float64],
    steps: Array | None,
    settings: Settings,
) -> Recovered:
    exact = graph.constant(operation.inputs[1]).astype(np.float32)
    scheme: Any = SCHEMES[method.scheme]
    parameters = fit(exact, method, seen.energy(exact.shape[-1]), floor, steps)
    rounded, left = _rounded(scheme, exact, parameters, seen, settings)
    return recovered(
        exact,
        graph.bias(operation),
        method,
        parameters,
        scheme.encode(rounded, parameters),
        mean=as_array(seen.mean) if settings.correct_bias else None,
        left=left,
    )


def _rounded(
    scheme: Any, exact: Array, parameters: Any, seen: moments.Moments, settings: Settings
) -> tuple[Array, float | None]:
    device = seen.covariance.device
    flat = as_tensor(exact.reshape(len(exact), -1), device)
    nearest = scheme.decode(scheme.encode(exact, parameters), parameters)
    plain = as_tensor(nearest.reshape(len(exact), -1), device)
    if not settings.second_order:
        return nearest, None
    there = moved(parameters, lambda values: as_tensor(values, device))
    lengths = None
    if settings.rate > 0 and scheme is SCHEMES[entropy.NAME]:
        lengths = as_tensor(entropy.code_lengths(scheme.encode(exact, parameters)), device)

    def column(values: torch.Tensor, index: int, price: float) -> torch.Tensor:
        if lengths is None:
            return scheme.nearest(values, there, index)[1]
        slope = settings.rate * entropy.SLOPE / price
        return entropy.cheapest(values, there, index, lengths, slope)[1]

    rounded = rounding.round_second_order(flat, seen.covariance, column, damping=settings.damping)
    before, after = (_error(flat - other, seen.covariance) for other in (plain, rounded))
    return as_array(rounded).reshape(exact.shape), after / before if before > 0 else None


def _error(difference: torch.Tensor, covariance: torch.Tensor) -> float:
    return float(((difference @ covariance) * difference).sum())


def floors_of(
    graph: FloatGraph, scales: Mapping[int, Scale]
) -> Iterator[tuple[int, NDArray[np.float64]]]:
    """(operator index, smallest scales) of each convolution; zeros where activations are float."""
    from toolchain.quantize.weights import floor_of_scale

    for operation in graph.convolutions:
        bias = graph.bias(operation)
        source, target = scales.get(operation.data[0]), scales.get(operation.output)
        if source is None or target is None:
            yield operation.index, np.zeros(len(bias))
        else:
            yield (
                operation.index,
                floor_of_scale(bias, input_scale=source.scale, output_scale=target.scale),
            )
