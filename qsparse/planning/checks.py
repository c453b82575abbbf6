"""Checks: what a plan has to hold before it is executed."""

from collections.abc import Sequence
from typing import Any

import keras

from qsparse.keras_compat import walk_layers
from qsparse.methods.criteria import ranks_once
from qsparse.methods.schedules import laid_on
from qsparse.planning.plan import LayerPlan, Planned, missed_total
from qsparse.planning.recipe import Recipe
from qsparse.planning.rulebook import Rulebook
from qsparse.planning.targets import NO_PRODUCTS, PRUNABLE, QUANTIZABLE, why_frozen


def check_built(model: keras.Model) -> None:
    """Raises ValueError if the layers of a model have no weights yet."""
    if not model.built:
        raise ValueError(
            f"Model '{model.name}' is not built, so its layers have no weights yet. "
            "Call it on a batch of data, or give it an Input, first."
        )


def demand(model: keras.Model, recipe: Recipe, plans: Sequence[Planned]) -> None:
    """Checks that a plan can be executed, before any layer is touched.

    Raises:
        ValueError: if there is nothing to compress, if an exclusion or a rule matches
            no layer, if weights are kept in float16, if layers of a fixed sparsity
            exceed the total, if the schedule does not lead to a pattern, or
            (`strict=True`) if a layer that multiplies by weights is not pruned.
    """
    check_names(model, recipe)
    check_plans(model, recipe, plans)


def check_plans(model: keras.Model, recipe: Recipe, plans: Sequence[Planned]) -> None:
    """Checks what `demand` does, but for the names that a recipe gives.

    Those of a file may belong to other layers in this process, where Keras counted
    them anew.
    """
    misfits = _misfits(plans) if recipe.prunes else []
    if misfits and recipe.strict:
        raise ValueError(
            "strict=True, and not every layer can be pruned: "
            + "; ".join(misfits)
            + ". Exclude these layers, change their sizes, or drop strict=True."
        )
    kernels = [
        item
        for item in plans
        if item.plan.compresses and isinstance(item.layer, QUANTIZABLE)
    ]
    hopeless = recipe.prunes and not any(p.plan.prunes for p in kernels)
    if not kernels or hopeless:
        names = ", ".join(cls.__name__ for cls in PRUNABLE)
        found = "; ".join(_reasons(plans)) or "none of these"
        raise ValueError(
            f"Model '{model.name}' has no layer to compress. qsparse prunes {names}. "
            f"Found {found}. Choose another pattern or fewer exclusions."
        )
    for layer, plan in kernels:
        if layer.variable_dtype == "float16":
            raise ValueError(
                f"Layer '{plan.path}' keeps its weights in float16, in which training "
                "diverges: small updates vanish and ranges overflow. Build the model "
                "with the policy 'mixed_float16', which computes in float16 and keeps "
                "the weights in float32."
            )
    for _, plan in plans:
        _check_observer(plan)
    pruned = [plan for _, plan in plans if plan.prunes]
    _check_total(recipe, plans)
    for plan in pruned:
        _check_schedule(recipe, plan)
        _check_regrowth(plan)


def _check_total(recipe: Recipe, plans: Sequence[Planned]) -> None:
    missed = missed_total(recipe, plans)
    fixed = [p for _, p in plans if p.prunes and p.fixed is not None]
    if missed > 0:
        listed = ", ".join(f"'{p.path}' ({p.sparsity:.1%})" for p in fixed[:5])
        reached = (recipe.sparsity or 0.0) + missed
        raise ValueError(
            f"{_total(recipe)}, and layers of a fixed sparsity, {listed}, alone make "
            f"{reached:.1%}. Ask for at least that, or prune fewer of them."
        )


def shortage(recipe: Recipe, plans: Sequence[Planned]) -> str | None:
    """Returns what to say if layers cannot hold the total asked for, or None."""
    missed = missed_total(recipe, plans)
    if missed >= 0:
        return None
    return (
        f"{_total(recipe)}, and they hold {(recipe.sparsity or 0.0) + missed:.1%} at "
        "most: every output keeps a weight, or a tile, and what the allocation spares. "
        "Ask for less, or for a pattern of smaller tiles."
    )


def _total(recipe: Recipe) -> str:
    return (
        f"sparsity={recipe.sparsity} is the total over all pruned layers under "
        f"allocation={type(recipe.allocation).__name__}"
    )


def _check_schedule(recipe: Recipe, plan: LayerPlan) -> None:
    layout: Any = plan.layout
    try:
        laid_on(recipe.schedule, 0, (0, 0), plan.pattern, layout.canonical_shape)
    except ValueError as error:
        raise ValueError(f"Layer '{plan.path}': {error}") from error


def _check_observer(plan: LayerPlan) -> None:
    """Raises if ranges are trained that are not what is rounded to."""
    trains = getattr(plan.observer, "trained", False)
    if trains and getattr(plan.input_format, "blockwise", False):
        raise ValueError(
            f"Layer '{plan.path}' has observer={plan.observer}, which trains the two "
            f"ends of a range, and activations in {plan.input_format}, which has none: "
            "each block is scaled by itself. Take another observer."
        )
    if trains and getattr(plan.input_format, "activation_bits", 8) != 8:
        raise ValueError(
            f"Layer '{plan.path}' has observer={plan.observer}, which trains the two "
            f"ends of a range, and activations in {plan.input_format}, whose ranges "
            "are symmetric. Take another observer; 65,535 levels leave little to learn."
        )


def _check_regrowth(plan: LayerPlan) -> None:
    """Raises if a layer's masks cannot move as its regrowth has it."""
    if plan.regrowth is None:
        return
    if plan.capacity.fixed is not None:
        raise ValueError(
            f"Layer '{plan.path}' has regrowth={plan.regrowth} and the pattern "
            f"{plan.pattern}, whose groups all keep the same number: nothing can be "
            'dropped in one place and grow in another. Take estimator="ste" without '
            "regrowth, by which masks move too, or another pattern."
        )
    if plan.regrowth.needs_gradients and ranks_once(plan.criterion):
        raise ValueError(
            f"Layer '{plan.path}' has regrowth={plan.regrowth}, which looks at "
            f"gradients at each selection, and criterion={plan.criterion}, which ranks "
            'weights once. Take criterion="magnitude".'
        )
    hidden = not getattr(plan.estimator, "dense_gradients", True)
    if plan.regrowth.needs_gradients and hidden:
        raise ValueError(
            f"Layer '{plan.path}' has regrowth={plan.regrowth}, which looks at the "
            f"gradients of pruned weights, and estimator={plan.estimator} hides them. "
            'Take estimator="ste".'
        )


def _misfits(plans: Sequence[Planned]) -> list[str]:
    """Returns "'path': reason" of layers that multiply by weights never pruned.

    Those that a user left out on purpose, by `exclude`, by a rule or by
    `trainable=False`, are none; nor are embeddings and depthwise convolutions, where
    no pattern fits.
    """
    found = []
    for layer, plan in plans:
        names = [matrix.name for matrix in plan.matrices]
        if isinstance(layer, NO_PRODUCTS) or all("embedding" in n for n in names):
            continue
        if plan.on_purpose or why_frozen(layer) is not None:
            continue
        if plan.reason:
            found.append(f"'{plan.path}': {plan.reason}")
    return found


def check_names(model: keras.Model, recipe: Recipe) -> None:
    """Checks that every rule and every exclusion names a layer.

    Raises:
        ValueError: if one does not; it names the nearest there are.
    """
    Rulebook(model, recipe, walk_layers(model)).check()


def _reasons(plans: Sequence[Planned]) -> list[str]:
    with_weights = [plan for _, plan in plans if plan.matrices]
    return [f"'{plan.path}': {plan.reason}" for plan in with_weights][:20]
