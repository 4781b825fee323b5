"""Factors moved from convolutions to those that read them, where that is foretold to help.

Nagel et al., "Data-free quantization through weight equalization and bias correction", arXiv
1906.04721, section 4.1: where f(s x) = s f(x), W2 f(W1 x) = (W2 / s) f(s W1 x).  There W1 and W2
had one scale for a whole filter.  Here each output channel of W1 has its own, which takes the
factor up; what gains is the int8 activation between, whose one step serves all of its channels,
and what may lose is W2, whose scales do not reach its inputs.  So the factors come from activations
seen on pictures, not from weights, and are only taken where `foreseen` says that the noise at the
outputs of all readers falls to MARGIN: what activations gain, less what filters lose.

Factors are powers of two: the float network computes the same bits as before, short of overflow
and denormal numbers, which `rescale.room` keeps the weights from.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from targets.progress import SILENT, Progress
from toolchain.quantize import foreseen
from toolchain.quantize.channels import FIXED, Channels, Unit, follows, trace, units
from toolchain.quantize.graph import FloatGraph
from toolchain.quantize.methods import Method
from toolchain.quantize.observe import ChannelStatistics, channel_statistics
from toolchain.quantize.options import Options
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.rescale import Octaves, rescaled, room
from toolchain.quantize.task import Task
from toolchain.tflite.flatbuffer import parse, serialize

MARGIN: Final = 0.5
"""Share of the foretold noise that may be left at most.

Foretold gains down to 0.6 were none in a trained network (docs/how-it-works.md).
"""

MOST: Final = 10
"""Octaves that one channel is moved by at most."""

STRENGTHS: Final = (1.0, 0.75, 0.5, 0.25)
"""Tried shares of the way to channels of one size; less spares the filters that read them."""

Methods = Mapping[int, Method | None]
Seen = Mapping[int, ChannelStatistics]


@dataclasses.dataclass(frozen=True, eq=False)
class Equalized:
    """model: bytes of the float model with factors moved.  units: what the record says of them."""

    model: bytes
    units: tuple[dict[str, Any], ...]


@dataclasses.dataclass(frozen=True, eq=False)
class Choice:
    """octaves: int64 by origin of the unit.  before, after: relative noise, summed over readers."""

    octaves: dict[int, int]
    before: float
    after: float


def is_possible(float_model: Path) -> bool:
    """Whether any factor could move at all: not with SiLU.  Before any picture.

    Raises MalformedModel, UnsupportedModel.
    """
    return bool(trace(FloatGraph(parse(float_model.read_bytes()))).free.any())


def equalize(
    float_model: Path,
    images: Sequence[Path],
    recipe: Recipe,
    options: Options | None = None,
    *,
    progress: Progress = SILENT,
) -> Equalized | None:
    """The float model with channels of more even size; None where nothing can be or is won.

    images: pictures to see activations on.  Its outputs are the same bits.
    Raises MalformedModel, UnsupportedModel, NotFinite, RecipeError, EmptyCalibration.
    """
    task = Task(float_model.read_bytes(), recipe, options or Options())
    graph, chosen = task.graph, task.chosen
    channels = trace(graph)
    methods = {i: None if i in chosen.islands else m for i, m in chosen.methods.items()}
    found = units(graph, channels)
    seen = channel_statistics(graph, _watched(graph, found), images, progress=progress)
    limits = room(graph, channels)
    moves = [(unit, choose(graph, channels, unit, seen, methods, limits)) for unit in found]
    taken = [(unit, choice) for unit, choice in moves if choice is not None]
    if not taken:
        return None
    octaves = np.zeros(len(channels.free), np.int64)
    for _, choice in taken:
        octaves[list(choice.octaves)] = list(choice.octaves.values())
    model = serialize(rescaled(graph, channels, octaves))
    return Equalized(model, tuple(_told(graph, channels, *one) for one in taken))


def choose(
    graph: FloatGraph,
    channels: Channels,
    unit: Unit,
    seen: Seen,
    methods: Methods,
    limits: tuple[Octaves, Octaves],
) -> Choice | None:
    """The best of some moves of one unit; None where none brings the noise below MARGIN.

    seen: statistics of the unit's sources and of what convolutions read of it.  methods: of
    filters, by operator index, None where they stay float.  limits: as from `room`.
    """
    origins = np.array(sorted(unit.origins), np.int64)
    sizes = _sizes(channels, unit, seen)

    def noise(octaves: Octaves) -> float:
        every = np.zeros(len(channels.free) + 1, np.int64)
        every[origins] = octaves
        return unit_noise(graph, channels, unit, seen, methods, every)

    return best_of(candidates(sizes, limits, origins), noise, origins)


def best_of(
    tried: Iterator[Octaves], noise: Callable[[Octaves], float], origins: Octaves
) -> Choice | None:
    """The candidate of least noise, if that is below MARGIN of what it is at rest."""
    before = noise(np.zeros(len(origins), np.int64))
    after, best = before, None
    for octaves in tried:
        found = noise(octaves)
        if found < after:
            after, best = found, octaves
    if best is None or not after < MARGIN * before:
        return None
    kept = {int(o): int(n) for o, n in zip(origins, best, strict=True) if n}
    return Choice(kept, before, after)


def candidates(
    sizes: Sequence[tuple[NDArray[np.float64], float]],
    limits: tuple[Octaves, Octaves],
    origins: Octaves,
) -> Iterator[Octaves]:
    """Moves towards channels of one size, each by whole octaves and never above it.

    sizes: for each notion of size, that of the origins [n] and of the largest fixed channel that
    shares a step with them, 0 where there is none.
    """
    least, most = (np.clip(limit[origins], -MOST, MOST) for limit in limits)
    given = set()
    for size, fixed in sizes:
        for wanted in {max(float(size.max()), fixed), fixed}:
            for strength in STRENGTHS:
                octaves = np.clip(towards(size, wanted, strength), least, most)
                if octaves.any() and octaves.tobytes() not in given:
                    given.add(octaves.tobytes())
                    yield octaves


def towards(size: NDArray[np.float64], wanted: float, strength: float) -> Octaves:
    """floor(strength x log2(wanted / size)), 0 for a channel that is always 0: int64 [n]."""
    alive = (size > 0) & (wanted > 0)
    missing = np.log2(wanted if wanted > 0 else 1.0) - np.log2(np.where(alive, size, 1.0))
    octaves = np.floor(strength * np.where(alive, missing, 0.0) + 1e-9)
    return np.asarray(octaves, np.int64)


def unit_noise(
    graph: FloatGraph,
    channels: Channels,
    unit: Unit,
    seen: Seen,
    methods: Methods,
    octaves: Octaves,
) -> float:
    """Sum over convolutions that read the unit of noise / signal at their outputs.

    A filter that would round better than it does at rest counts as at rest: recovery and the
    allocation of bits see to filters, and a gain foretold for them did not come true.
    octaves: int64 [origins + 1], 0 last, for FIXED.
    """
    variance = _variances(graph, channels, unit, seen, octaves)
    total = 0.0
    for operation in graph.convolutions:
        tensor = operation.data[0]
        if tensor not in variance:
            continue
        weights = graph.constant(operation.inputs[1])
        power, by = seen[tensor].mean_square, octaves[channels.of[tensor]]
        signal = foreseen.signal(weights, power)
        if signal > 0:
            scaled = np.ldexp(weights, -by.astype(np.int32))
            method = methods[operation.index]
            filters = (
                foreseen.weight_noise(weights, power, method),
                foreseen.weight_noise(scaled, np.ldexp(power, 2 * by), method),
            )
            noise = foreseen.activation_noise(weights, variance[tensor]) + max(filters)
            total += noise / signal
    return total


def _variances(
    graph: FloatGraph, channels: Channels, unit: Unit, seen: Seen, octaves: Octaves
) -> dict[int, NDArray[np.float64]]:
    """Rounding noise in each channel of the unit's tensors, in units of the channel as it was."""
    own: dict[int, NDArray[np.float64]] = {}
    for group in unit.groups:
        by = {tensor: octaves[channels.of[tensor]] for tensor in group.sources}
        low = np.concatenate([np.ldexp(seen[t].low, by[t]) for t in group.sources])
        high = np.concatenate([np.ldexp(seen[t].high, by[t]) for t in group.sources])
        step = foreseen.step(low, high)
        for t in group.sources:
            own[t] = foreseen.rounding(np.ldexp(np.float64(step), -by[t]), seen[t].mean_square)
    found: dict[int, NDArray[np.float64]] = {}
    inside = set(unit.tensors)
    for operation in graph.operations:
        if operation.output not in inside:
            continue
        if operation.rule.copies:
            copied = np.concatenate([found[t] for t in operation.data])
            if not follows(graph, operation):  # which channel went where is not known
                copied = np.full(graph.shape(operation.output)[-1], copied.max())
            found[operation.output] = copied
        else:
            found[operation.output] = own[operation.output]
            if operation.kind == "LEAKY_RELU" and operation.data[0] in found:
                # Half of the values above 0, half below.
                gain = (1 + float(operation.options.alpha) ** 2) / 2
                found[operation.output] = own[operation.output] + gain * found[operation.data[0]]
    return found


def _sizes(
    channels: Channels, unit: Unit, seen: Seen
) -> tuple[tuple[NDArray[np.float64], float], ...]:
    """Largest values and root mean squares: of the free origins in order, of fixed channels."""
    place = {origin: index for index, origin in enumerate(sorted(unit.origins))}
    found = []
    for size_of in (ChannelStatistics.peak, ChannelStatistics.rms):
        sizes, fixed = np.zeros(len(place)), 0.0
        for tensor in unit.sources:  # the last to hold an origin is what convolutions read
            for origin, size in zip(channels.free_of(tensor), size_of(seen[tensor]), strict=True):
                if origin == FIXED:
                    fixed = max(fixed, float(size))
                else:
                    sizes[place[int(origin)]] = size
        found.append((sizes, fixed))
    return tuple(found)


def _watched(graph: FloatGraph, found: Sequence[Unit]) -> tuple[int, ...]:
    inside = {tensor for unit in found for tensor in unit.tensors}
    read = {op.data[0] for op in graph.convolutions} & inside
    return tuple(sorted(read.union(*(unit.sources for unit in found))))


def _told(graph: FloatGraph, channels: Channels, unit: Unit, choice: Choice) -> dict[str, Any]:
    """For the record: factors by layer, one for each output channel, as powers of two."""
    names = graph.layer_names()
    octaves = {}
    for operation in graph.convolutions:
        first = channels.first[operation.index]
        count = graph.shape(operation.inputs[1])[0]
        own = [choice.octaves.get(first + channel, 0) for channel in range(count)]
        if any(own):
            octaves[names[operation.index]] = own
    return {
        "tensors": [graph.name(tensor) for tensor in unit.sources],
        "octaves": octaves,
        "noise_before": choice.before,
        "noise_after": choice.after,
    }
