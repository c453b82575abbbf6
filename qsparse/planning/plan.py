"""The plan: what a recipe makes of each layer of a model, decided in one place.

`resolve` answers for every layer that has weights or would get quantizers: its
pattern, sparsity, criterion, estimator and formats, or why it is left alone.
Attaching executes the plan, `coverage` prints it, and a file holds what its layers
were compressed with.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from numbers import Real
from typing import Any, NamedTuple

import keras
import numpy as np

from qsparse.keras_compat import own_kernel
from qsparse.methods import REGISTRIES
from qsparse.methods.allocations import Kernel, Uniform, holds_total
from qsparse.methods.criteria import needs_of
from qsparse.methods.patterns import Capacity, capacity
from qsparse.planning.layouts import KernelLayout, kernel_layout
from qsparse.planning.recipe import Recipe
from qsparse.planning.rulebook import Settings
from qsparse.planning.targets import INT8_JOINS, NORMS, PRUNABLE, QUANTIZABLE, Survey
from qsparse.planning.usual import usual_estimator

# What a plan holds of a recipe for each layer, and the registry that names it.
_METHODS = {
    "pattern": "pattern",
    "criterion": "criterion",
    "estimator": "estimator",
    "regrowth": "regrowth",
    "weight_format": "format",
    "input_format": "format",
    "output_format": "format",
    "observer": "observer",
}
# Those that plans of older files do not have; they did without.
_LATER = {"regrowth"}


class Matrix(NamedTuple):
    """One matrix of weights of a layer; most layers have one, their kernel.

    Attributes:
        name: the variable's name, like "kernel" or "recurrent_kernel".
        shape: its shape.
        is_kernel: whether it is what a layer multiplies its inputs by, and so what a
            mask lies on.
    """

    name: str
    shape: tuple[int, ...]
    is_kernel: bool


@dataclass(frozen=True)
class LayerPlan:
    """What becomes of one layer.

    Attributes:
        path: where the layer lies in the model, like "backbone/block_1/conv".
        kind: the layer's class name.
        matrices: its weights that count; see `qsparse.Coverage`.
        layout: how its kernel lies in memory; None if it has no known one.
        pattern: the pattern of its mask; None where the kernel stays dense.
        sparsity: share of zeros at the end of pruning, in [0, 1); 0 if dense. Under an
            allocation by scores, which are not known before, an equal share.
        criterion: what scores the weights; None if dense.
        estimator: how the gradient meets the mask; None if dense.
        regrowth: how masks move at one sparsity; None if they are selected anew.
        weight_format: what the kernel is rounded to; None for float.
        input_format: what the layer's inputs are rounded to; None for float.
        output_format: the same for outputs that leave the model; else None.
        observer: how the ranges of inputs and outputs are found; None for float.
        freezes_statistics: whether it is a normalization whose statistics freeze.
        reason: why the kernel is not pruned; empty if it is.
        on_purpose: whether the recipe leaves the kernel dense by name or by rule.
        given: whether a rule sets the sparsity, or the pattern allows no other, so
            that no allocation shares it out.
        rules: numbers of the recipe's rules that speak of the layer, from 1.
        conflicts: where one of them overrules another, a sentence each.
    """

    path: str
    kind: str
    matrices: tuple[Matrix, ...] = ()
    layout: KernelLayout | None = None
    pattern: Any = None
    sparsity: float = 0.0
    criterion: Any = None
    estimator: Any = None
    regrowth: Any = None
    weight_format: Any = None
    input_format: Any = None
    output_format: Any = None
    observer: Any = None
    freezes_statistics: bool = False
    reason: str = ""
    on_purpose: bool = False
    given: bool = False
    rules: tuple[int, ...] = ()
    conflicts: tuple[str, ...] = ()

    @property
    def prunes(self) -> bool:
        """Whether the kernel gets a mask."""
        return self.pattern is not None

    @property
    def capacity(self) -> Capacity:
        """What the pattern can do to the kernel; only of a plan that prunes."""
        layout: Any = self.layout
        return capacity(self.pattern, layout.canonical_shape)

    @property
    def fixed(self) -> float | None:
        """The sparsity that it ends with whatever is allocated; None if it is free."""
        return self.sparsity if self.given else self.capacity.fixed

    def statistics(self, **others: Any) -> dict[str, Any]:
        """Returns what the criterion needs, by name, where the layer itself tells.

        Args:
            **others: what else there is.

        Raises:
            ValueError: if it needs more.
        """
        known = {"path": self.path, "tile": getattr(self.pattern, "tile", (1, 1))}
        known |= others
        needs = needs_of(self.criterion)
        missing = [name for name in needs if name not in known]
        if missing:
            raise ValueError(
                f"{self.criterion}, of layer '{self.path}', scores by {missing[0]}, "
                'and nothing is trained here. Take criterion="magnitude".'
            )
        return {name: known[name] for name in needs}

    def kernel(
        self, fixed: float | None, scores: Callable[[], np.ndarray] | None = None
    ) -> Kernel:
        """Returns what an allocation knows of the layer; only of a plan that prunes.

        Args:
            fixed: as `fixed`, or what the schedule has come to.
            scores: see `Kernel`.
        """
        layout: Any = self.layout
        unit, most, _ = self.capacity
        shape = layout.canonical_shape
        return Kernel(self.path, shape, layout.shape, unit, most, fixed, scores)

    @property
    def quantizes(self) -> bool:
        """Whether the layer computes in a format when quantization is on."""
        return self.input_format is not None

    @property
    def trains_ranges(self) -> bool:
        """Whether the optimizer trains ranges of activations or of weights."""
        methods = self.observer, self.weight_format
        return any(getattr(method, "trained", False) for method in methods)

    @property
    def compresses(self) -> bool:
        """Whether attaching changes the layer."""
        return self.prunes or self.quantizes or self.freezes_statistics

    def adding(self, other: "LayerPlan") -> "LayerPlan":
        """Returns this plan with what only `other` has.

        Args:
            other: a plan of the same layer, by a recipe that adds to this one's.
        """
        names = ["layout"] if self.layout is None else []
        if not self.prunes:
            names += [
                "pattern",
                "sparsity",
                "criterion",
                "estimator",
                "regrowth",
                "reason",
                "given",
            ]
        if not self.quantizes:
            names += ["weight_format", "input_format", "output_format", "observer"]
        changes = {
            name: getattr(other, name) for name in [*names, "rules", "conflicts"]
        }
        freezes = self.freezes_statistics or other.freezes_statistics
        return replace(self, **changes, freezes_statistics=freezes)

    def to_dict(self) -> dict[str, Any]:
        """Returns what a file has to hold, JSON-ready: methods and sparsity."""
        methods = {
            name: None if method is None else REGISTRIES[kind].to_dict(method)
            for name, kind in _METHODS.items()
            for method in [getattr(self, name)]
        }
        return {**methods, "sparsity": float(self.sparsity), "given": self.given}

    def with_saved(self, saved: Mapping[str, Any], masked: bool) -> "LayerPlan":
        """Returns the plan of a layer in a file: this one's place, that one's methods.

        Args:
            saved: what `to_dict` wrote.
            masked: whether the file has a mask beside it.

        Raises:
            ValueError: if it is not that, names a method that is not registered, or has
                a pattern or a sparsity that no mask of this layer has.
        """
        here = saved.keys() if isinstance(saved, Mapping) else set()
        if not _METHODS.keys() - _LATER <= here:
            raise ValueError(f"{saved!r} is no plan.")
        sparsity: Any = saved.get("sparsity")
        number = isinstance(sparsity, Real) and not isinstance(sparsity, bool)
        if not number or not 0 <= sparsity < 1:
            raise ValueError(f"its sparsity must be in [0, 1). Received: {sparsity!r}")
        methods: dict[str, Any] = {
            name: None if method is None else REGISTRIES[kind].get(method)
            for name, kind in _METHODS.items()
            for method in [saved.get(name)]
        }
        if (methods["pattern"] is None) == masked:
            raise ValueError(f"{saved!r} does not go with the mask beside it.")
        pattern, layout = methods["pattern"], self.layout
        if pattern is not None and layout is not None:
            misfit = pattern.misfit(layout.canonical_shape)
            if misfit:
                raise ValueError(f"{pattern} does not fit its kernel: {misfit}.")
        given = bool(saved.get("given", False))
        return replace(self, **methods, sparsity=float(sparsity), given=given)


class Planned(NamedTuple):
    """A layer and its plan."""

    layer: keras.layers.Layer
    plan: LayerPlan


def resolve(model: keras.Model, recipe: Recipe) -> tuple[LayerPlan, ...]:
    """Returns what a recipe would make of each layer, without touching any.

    Args:
        model: any built Keras model, compressed or not.
        recipe: the recipe.

    Returns:
        One plan for every layer that has weights that count, or whose inputs are
        quantized, or whose statistics freeze; in the model's order.
    """
    return tuple(plan for _, plan in planned(model, recipe))


def planned(model: keras.Model, recipe: Recipe) -> list[Planned]:
    """Returns what `resolve` does, with the layers."""
    return allocated(surveyed(model, recipe), recipe)


def surveyed(model: keras.Model, recipe: Recipe) -> list[Planned]:
    """Returns what `planned` does before the sparsity is allocated."""
    planner = _Planner(model, recipe)
    plans = [
        Planned(layer, planner.plan(path, layer))
        for path, layer in [(model.name, model), *planner.survey.layers]
    ]
    return [item for item in plans if item.plan.compresses or item.plan.matrices]


def plan_of(
    model: keras.Model,
    recipe: Recipe,
    pruned: Mapping[keras.layers.Layer, bool],
    stored: Callable[[keras.layers.Layer, LayerPlan], LayerPlan | None],
) -> list[Planned]:
    """Returns the plans of layers that a file holds compressed, whatever fits a recipe.

    Names that the recipe's rules give are not asked where the file holds a plan: they
    may belong to other layers in this process. Files of before plans were written
    before there were rules and allocations: each layer has the recipe's sparsity.

    Args:
        model: the model that the file was loaded into.
        recipe: the recipe of the file.
        pruned: the compressed layers -> whether they have a mask.
        stored: makes of a layer, and a plan of its place alone, the plan that the file
            holds of it; None if it holds none.
    """
    planner = _Planner(model, recipe)
    plans, held = [], {}
    for path, layer in planner.survey.layers:
        if layer in pruned:
            reason = ""
            if not pruned[layer]:
                reason = planner.survey.why_not_pruned(path, layer) or ""
            plan = stored(layer, replace(planner.bare(path, layer), reason=reason))
            if plan is not None:
                held[layer] = plan
            else:
                plan = planner.compressed(path, layer, pruned[layer])
                plan = replace(plan, reason=reason)
        elif isinstance(layer, NORMS) and not planner.leaves_alone(path):
            # A normalization has nothing of its own to store.
            plan = planner.plan(path, layer)
        else:
            continue
        plans.append(Planned(layer, plan))
    uniform = replace(recipe, allocation=Uniform())
    found = allocated([item for item in plans if item.plan.compresses], uniform)
    return [Planned(layer, held.get(layer, plan)) for layer, plan in found]


def missed_total(recipe: Recipe, plans: Sequence[Planned]) -> float:
    """Returns by how much the zeros of plans miss the recipe's total.

    Returns:
        The share of zeros that they have above the total, negative if below; 0 if that
        is within a unit of each layer, or the recipe's sparsity is no total.
    """
    pruned = [plan for _, plan in plans if plan.prunes]
    free = any(plan.fixed is None for plan in pruned)
    # By rules alone nobody asks for a total, where they give every layer its sparsity.
    asked = recipe.pattern is not None or free
    if not pruned or not asked or not holds_total(recipe.allocation):
        return 0.0
    weights = [math.prod(m.shape) for p in pruned for m in p.matrices if m.is_kernel]
    zeros = sum(p.sparsity * n for p, n in zip(pruned, weights, strict=True))
    missed = zeros - (recipe.sparsity or 0.0) * sum(weights)
    near = abs(missed) <= sum(plan.capacity.unit for plan in pruned)
    return 0.0 if near else missed / sum(weights)


def allocated(plans: Sequence[Planned], recipe: Recipe) -> list[Planned]:
    """Returns plans in which each pruned layer has its share of the sparsity."""
    kernels = [plan.kernel(plan.fixed) for _, plan in plans if plan.prunes]
    if not kernels:
        return list(plans)
    shares = iter(recipe.allocation.allocate(kernels, recipe.sparsity or 0.0))
    return [
        item._replace(plan=replace(item.plan, sparsity=_final(item.plan, next(shares))))
        if item.plan.prunes
        else item
        for item in plans
    ]


def _fixed(settings: Settings, path: str) -> float | None:
    """Returns the sparsity that a rule or a pattern sets, or None if it is allocated.

    Raises:
        ValueError: if the pattern allows another sparsity only.
    """
    if settings.sparsity is None and not hasattr(settings.pattern, "n"):
        return None
    try:
        return settings.pattern.final_sparsity(settings.sparsity)
    except ValueError as error:
        raise ValueError(f"By its rules, layer '{path}' has {error}") from error


def _final(plan: LayerPlan, share: float) -> float:
    return plan.pattern.final_sparsity(share)


class _Planner:
    """Makes plans of layers, one by one.

    Args:
        model: the model they are in.
        recipe: the recipe.
    """

    def __init__(self, model: keras.Model, recipe: Recipe) -> None:
        self.survey = Survey(model, recipe)
        self._recipe = recipe
        self._matrices: dict[int, list[keras.Variable]] = {}
        for _, layer, variable in self.survey.matrices():
            self._matrices.setdefault(id(layer), []).append(variable)

    def plan(self, path: str, layer: keras.layers.Layer) -> LayerPlan:
        """Returns the plan of a layer; its sparsity is allocated later."""
        survey = self.survey
        bare = self.bare(path, layer)
        reason = survey.why_not_pruned(path, layer) or ""
        if self.leaves_alone(path) or not layer.built:
            return replace(bare, reason=reason)
        if survey.why_untouched(layer) is not None:
            return replace(bare, reason=reason)
        if isinstance(layer, PRUNABLE) and self._settings(path).lacks_pattern:
            raise ValueError(
                f"A rule sets a sparsity for layer '{path}', which has no pattern: "
                "neither the recipe nor a rule gives it one. Give the rule a pattern, "
                'as in Rule(..., pattern="4x4").'
            )
        if isinstance(layer, QUANTIZABLE):
            return replace(self.compressed(path, layer, not reason), reason=reason)
        if isinstance(layer, INT8_JOINS):
            return replace(self.compressed(path, layer, False), reason=reason)
        freezes = isinstance(layer, NORMS) and self._recipe.freezes_statistics()
        return replace(bare, freezes_statistics=freezes, reason=reason)

    def compressed(
        self, path: str, layer: keras.layers.Layer, prunes: bool
    ) -> LayerPlan:
        """Returns the plan of a compressed layer, whatever speaks against it."""
        settings, plan = self._settings(path), self.bare(path, layer)
        if prunes:
            plan = replace(
                plan,
                pattern=settings.pattern,
                criterion=settings.criterion,
                estimator=settings.estimator
                or usual_estimator(
                    settings.pattern, settings.criterion, settings.regrowth
                ),
                regrowth=settings.regrowth,
            )
            fixed = _fixed(settings, path)
            if fixed is not None:
                plan = replace(plan, sparsity=fixed, given=True)
        if settings.quantize:
            activations = settings.activations or settings.format
            plan = replace(
                plan,
                weight_format=settings.format
                if isinstance(layer, QUANTIZABLE)
                else None,
                input_format=activations,
                output_format=activations if self.survey.leaves(layer) else None,
                observer=settings.observer,
            )
        return plan

    def leaves_alone(self, path: str) -> bool:
        """Returns whether the recipe neither prunes nor quantizes a layer."""
        return bool(self._settings(path).left_alone)

    def _settings(self, path: str) -> Settings:
        return self.survey.rulebook.settings(path)

    def bare(self, path: str, layer: keras.layers.Layer) -> LayerPlan:
        """Returns the plan of a layer that nothing is done to."""
        kernel = own_kernel(layer)
        matrices = tuple(
            Matrix(variable.name, tuple(variable.shape), variable is kernel)
            for variable in self._matrices.get(id(layer), [])
        )
        known = isinstance(layer, QUANTIZABLE) and layer.built
        untouched = not known or self.survey.why_untouched(layer) is not None
        settings = self._settings(path)
        return LayerPlan(
            rules=settings.rules,
            conflicts=settings.conflicts,
            on_purpose=bool(settings.left_alone or settings.dense),
            path=path,
            kind=type(layer).__name__,
            matrices=matrices,
            layout=None if untouched else kernel_layout(layer),
        )
