"""What a recipe, or a plan in its place, means for the convolutions of one model."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping
from typing import Final

from toolchain.errors import RecipeError
from toolchain.quantize.choice import LayerChoice
from toolchain.quantize.graph import FloatGraph, Operation
from toolchain.quantize.methods import Method, methods
from toolchain.quantize.planfile import PlanFile
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.schemes import entropy

PLANNED: Final = "as planned"
_TABLE_BYTES: Final = 1024
"""More than the tables of an entropy-coded filter ever take."""


@dataclasses.dataclass(frozen=True)
class Chosen:
    """By operator index.

    methods: of each convolution.  bits: a weight, of entropy-coded ones that do not share the
    budget.  islands: convolutions whose filter and output stay float32 beside int8 activations.
    """

    methods: Mapping[int, Method]
    bits: Mapping[int, float]
    islands: frozenset[int]

    @property
    def entropy_coded(self) -> tuple[int, ...]:
        """In the order of execution."""
        return tuple(i for i, method in self.methods.items() if method.scheme == entropy.NAME)

    @property
    def sharing_budget(self) -> tuple[int, ...]:
        """Entropy-coded ones without bits of their own."""
        return tuple(index for index in self.entropy_coded if index not in self.bits)


def chosen(
    graph: FloatGraph, recipe: Recipe, boxes: frozenset[int], plan: PlanFile | None
) -> Chosen:
    """The choice for each convolution.

    boxes: those that make boxes alone.  plan: goes before the recipe, which has to be its own.
    Raises RecipeError (a layer that the model does not have, or that cannot be so).
    """
    usual = methods(graph, recipe)
    islands = boxes if recipe.activation_bits else frozenset()
    if plan is None:
        return Chosen(usual, {}, islands)
    names = graph.layer_names()
    named = dict(plan.layers)
    _check_names(named, names)
    choices = {op.index: named.get(names[op.index], plan.default) for op in graph.convolutions}
    found, bits = dict(usual), {}
    float_outputs = set(islands if plan.float_boxes else ())
    for operation in graph.convolutions:
        index, choice = operation.index, choices[operation.index]
        if choice is None:
            continue
        found[index] = _method(choice, usual[index])
        if choice.scheme == entropy.NAME and choice.bits is not None:
            _check_bits(choice.bits, graph.elements(operation.inputs[1]), names[index])
            bits[index] = choice.bits
        if choice.float_output and recipe.activation_bits:
            _check_output(graph, operation, names[index])
            float_outputs.add(index)
        elif choice.float_output is False:
            float_outputs.discard(index)
    return Chosen(found, bits, frozenset(float_outputs))


def _method(choice: LayerChoice, usual: Method) -> Method:
    # An entropy-coded layer is called by the bits of its recipe, whatever it takes.
    bits = usual.bits if choice.scheme == entropy.NAME else int(choice.bits or 8)
    made = Method(choice.scheme, bits, choice.granularity, choice.search, why=PLANNED)
    same = dataclasses.replace(usual, why=PLANNED) == made
    return usual if same else made


def _check_names(named: Mapping[str, LayerChoice], names: Mapping[int, str]) -> None:
    for name in named:
        if name not in names.values():
            near = difflib.get_close_matches(name, names.values(), n=1, cutoff=0.5)
            shown = ", ".join(list(names.values())[:3])
            raise RecipeError(
                f"the plan has a layer {name!r:.80}, and the model has none of that name",
                hint=f"Did you mean {near[0]!r}?"
                if near
                else f"The model's {len(names)} layers begin with {shown}.",
            )


def _check_bits(bits: float, weights: int, name: str) -> None:
    most = 8 + 8 * _TABLE_BYTES / weights
    if bits > most:
        raise RecipeError(
            f"layer {name!r:.80}: {bits:g} bits a weight; its int8 codes take no more than 8",
            hint='Ask for less, or for scheme = "uniform" with bits = 8.',
        )


def _check_output(graph: FloatGraph, operation: Operation, name: str) -> None:
    if operation.output not in graph.outputs or graph.consumers.get(operation.output):
        raise RecipeError(
            f"layer {name!r:.80}: its output is read by other layers, so it cannot stay float",
            hint="float_output is for layers whose output leaves the model.",
        )
