"""What a recipe, or a plan in its place, asks of one float model: known before any picture."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from toolchain.errors import OutOfRange
from toolchain.quantize import ties
from toolchain.quantize.blank import blank
from toolchain.quantize.chosen import chosen
from toolchain.quantize.coded import CodedFilter
from toolchain.quantize.granularity import Channel
from toolchain.quantize.graph import FloatGraph, check_weights
from toolchain.quantize.methods import Method
from toolchain.quantize.options import Form, Options, check, unsteered
from toolchain.quantize.outputs import box_makers
from toolchain.quantize.plan import GroupPlan, LayerPlan, Plan
from toolchain.quantize.recipe import Recipe
from toolchain.quantize.recovered import Recovered
from toolchain.quantize.scales import Scale
from toolchain.quantize.schemes import entropy
from toolchain.quantize.write import write
from toolchain.tflite import flatbuffer, metadata, packed, sharing
from toolchain.tflite.packed_codecs import stored_bits


def check_model(float_bytes: bytes, recipe: Recipe, options: Options | None = None) -> None:
    """What can be said of a float model before it is calibrated.

    Raises MalformedModel, UnsupportedModel, NotFinite (layer, channel, count), RecipeError (a
    plan's layer that the model does not have, or that cannot be so), OutOfRange (a budget that
    scales, biases and the graph exceed already).
    """
    Task(float_bytes, recipe, options or Options()).check_budget()


class Task:
    """A float model and the choice for each of its convolutions.

    form: of the file.  facts: metadata, None where it has none.  parameters: weights and biases.
    Raises MalformedModel, UnsupportedModel, NotFinite, RecipeError.
    """

    def __init__(self, float_bytes: bytes, recipe: Recipe, options: Options) -> None:
        check(recipe, options)
        self.recipe = recipe
        self.options = options
        self.form: Form = options.form_of(recipe)
        self.graph = FloatGraph(flatbuffer.parse(float_bytes))
        check_weights(self.graph)
        self.facts = metadata.extract(self.graph.model)
        plan = options.plan
        self.float_boxes = plan.float_boxes if plan else options.float_boxes
        boxes = box_makers(self.graph, self.facts) if self.float_boxes else frozenset()
        self.chosen = chosen(self.graph, recipe, boxes, plan)
        if plan and plan.budget is not None and self.chosen.sharing_budget:
            unsteered(self.form)
        self.parameters = (
            self.facts.parameters
            if self.facts
            else sum(self.graph.elements(op.inputs[1]) for op in self.graph.convolutions)
        )

    @property
    def leaves_open(self) -> bool:
        """Whether a plan is still to be made for it (`mixing`)."""
        return self.recipe.is_mixture and self.options.plan is None

    @property
    def budget(self) -> float | None:
        """Bits a weight of the whole file that entropy-coded layers, or a mixture, aim at."""
        plan, budget = self.options.plan, self.options.budget
        if plan is not None:
            return plan.budget or self.recipe.default_budget
        return budget.bits(self.parameters) if budget else self.recipe.default_budget

    def check_budget(self) -> None:
        """Raises OutOfRange where nothing is left for codes, whatever the pictures will say."""
        if self.chosen.sharing_budget or self.leaves_open:
            self.room_bits(self._blank_groups(), 0.0)

    def room_bits(self, groups: tuple[GroupPlan, ...], spare: float) -> float:
        """What a budget leaves to layers that have no bits of their own.

        spare: share of the budget to leave free.  Raises OutOfRange.
        """
        budget = self.budget
        assert budget is not None
        pinned = sum(bits * self.weights(index) for index, bits in self.chosen.bits.items())
        beside = self._bits_beside_codes(groups) + pinned
        room_bits = budget * self.parameters * (1 - spare) - beside
        if room_bits <= 0:
            what = "all but the codes" if not pinned else "what has bits of its own"
            raise self.impossible(f"{what} takes {beside / self.parameters:.3f} already")
        return room_bits

    def impossible(self, why: str) -> OutOfRange:
        """The error about the budget."""
        return OutOfRange(
            f"a budget of {self.budget:g} bits a weight: {why}", hint="Ask for more bits."
        )

    def plan(self, groups: tuple[GroupPlan, ...], made: Mapping[int, Recovered]) -> Plan:
        """made: of each convolution, by operator index."""
        layers = tuple(
            LayerPlan(operation, made[operation.index], operation.index in self.chosen.islands)
            for operation in self.graph.convolutions
        )
        return Plan(groups, layers)

    def file_of(self, plan: Plan, form: Form) -> bytes:
        """The plan as a .tflite file."""
        written = write(self.graph, plan, int4=form == "int4")
        model = written.model
        if self.facts is not None:
            facts = dataclasses.replace(self.facts, recipe=str(self.recipe))
            model = metadata.embed(model, facts)
        if form != "packed":
            return sharing.serialize(model)
        filters: dict[int, CodedFilter] = {}
        scales: dict[int, NDArray[np.float32]] = {}
        for layer in plan.layers:
            tensor, made = written.filters[layer.operation.index], layer.made
            if layer.is_island:
                continue
            assert made.coded is not None
            assert made.scale is not None
            filters[tensor] = made.coded
            if not plan.groups:
                scales[tensor] = made.scale
        return packed.pack(model, filters, scales)

    def weights(self, index: int) -> int:
        """Of a convolution, by operator index."""
        return self.graph.elements(self.graph.operations[index].inputs[1])

    def _bits_beside_codes(self, groups: tuple[GroupPlan, ...]) -> float:
        """What a packed file takes for all but entropy-coded codes, which are zeros here.

        Where methods are still open, for all but codes of any kind.
        """
        made = self._blanks
        coded_so = tuple(made) if self.leaves_open else self.chosen.entropy_coded
        coded = (made[index].coded for index in coded_so)
        codes = sum(stored_bits(filter_) for filter_ in coded if filter_ is not None)
        return 8 * len(self.file_of(self.plan(groups, made), "packed")) - codes

    @functools.cached_property
    def _blanks(self) -> dict[int, Recovered]:
        methods = self.chosen.methods
        if self.leaves_open:
            methods = dict.fromkeys(methods, Method(entropy.NAME, 4, Channel()))
        return {
            op.index: blank(
                methods[op.index],
                self.graph.constant(op.inputs[1]).astype(np.float32),
                op.index,
            )
            for op in self.graph.convolutions
        }

    def _blank_groups(self) -> tuple[GroupPlan, ...]:
        """Activations at one scale, which takes no more room than many."""
        if self.recipe.activation_bits is None:
            return ()
        islands = {op.output for op in self.graph.convolutions if op.index in self.chosen.islands}
        return tuple(
            GroupPlan(group, group.fixed or Scale(1.0, 0), (), None)
            for group in ties.groups(self.graph)
            if not islands.issuperset(group.tensors)
        )
