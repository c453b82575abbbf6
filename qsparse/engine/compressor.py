"""The compressor: attaches a recipe to a model in place, and strips it.

Nothing is cloned. The class of a layer is swapped for a subclass of it that
returns the effective weight as its `kernel` and fake-quantizes its inputs. This
works for Sequential, functional, nested, subclassed and keras-hub models.
"""

import warnings
from dataclasses import replace
from typing import Any

import keras
import numpy as np
from keras import layers

from qsparse.engine.batches import Batches
from qsparse.engine.classes import compressed_class
from qsparse.engine.coverage import Coverage, coverage
from qsparse.engine.kernel import KernelCompression, compressed_layers
from qsparse.engine.norms import FrozenStatistics
from qsparse.engine.observers import InputQuantizer, OutputQuantizer
from qsparse.engine.slots import check_retrains, retrain
from qsparse.engine.state import (
    CHILD,
    SHARED,
    Compression,
    ModelState,
    Switches,
    compression_of,
    compressions,
    state_of,
)
from qsparse.engine.tap import tap, untap
from qsparse.engine.trained import trained_ranges
from qsparse.keras_compat import (
    add_child,
    drop_compiled_functions,
    remove_child,
    unlocked,
    variable_scope,
    walk_layers,
)
from qsparse.planning.checks import check_built, check_plans, demand, shortage
from qsparse.planning.merge import contradictions, merged
from qsparse.planning.plan import LayerPlan, Planned, allocated, planned, surveyed
from qsparse.planning.recipe import Recipe
from qsparse.planning.rulebook import Rulebook
from qsparse.planning.targets import NORMS, QUANTIZABLE

# Share of zeros from which on a plain model is taken for a pruned one.
_MANY_ZEROS = 0.25

__all__ = ["attach", "compressed_layers", "discard", "state_of", "strip"]


def attach(model: keras.Model, recipe: Recipe, *, score_data: Any = None) -> Coverage:
    """Attaches `recipe` to a built model, in place.

    Attaching the recipe that the model already carries changes nothing. One that has
    not begun may be replaced. One that has is added to: a model that was pruned takes
    on a recipe that quantizes, with its masks as they are, and the other way round. A
    model that contains this one, and was called before, has to be compiled anew.

    Args:
        model: any built Keras model.
        recipe: what to do to it.
        score_data: what the recipe's criterion sees at every selection of masks, if it
            asks for data: `(x, y)`, `x`, a `tf.data.Dataset` or a
            `keras.utils.PyDataset` of batches.

    Returns:
        The coverage report: what is compressed, what is not, and why.

    Raises:
        ValueError: if the model is not built, carries a recipe that contradicts this
            one, shares layers with a model that does, has no layer that the recipe
            can compress, or (`strict=True`) has a layer that the pattern does
            not fit; or if `score_data` has no rows, or no end.
        TypeError: if `score_data` is none of these forms.

        The model is left untouched.
    """
    data = None
    if score_data is not None:
        data = Batches(score_data, "score_data", model=model, again=True)
    check_built(model)
    state = state_of(model)
    if state is not None:
        _check_whole(model)
        if state.begun:
            return _take_on(model, state, recipe, data)
    targets = _to_compress(model, recipe)
    _check_optimizer(model, targets)
    missing = [t for t in targets if compression_of(t.layer) is None]
    if state is None or state.recipe != recipe or missing:
        if state is None:
            _warn_of_lost_masks(model, targets)
        else:
            strip(model)
        attach_to(model, recipe, targets, _excluded(model, recipe))
        _warn_of_shortage(recipe, targets)
    _tap(model, data)
    return coverage(model)


def _check_optimizer(model: keras.Model, targets: list[Planned]) -> None:
    """Raises if the optimizer could not train what is to be trained beside weights."""
    if any(target.plan.trains_ranges for target in targets):
        check_retrains(model)


def _tap(model: keras.Model, data: Batches | None) -> None:
    """Sees to it that criteria get the gradients they ask for, of every optimizer.

    What data brings is not asked of the optimizer.
    """
    layers = compressed_layers(model)
    for state in {layer.state() for layer in layers}:
        state.score_data = data = data or state.score_data
    held = [each for layer in layers for each in layer.held_by_optimizer()]
    asked = [each for each in held if not (data and each.come_from_data)]
    if tap(model, asked):
        drop_compiled_functions(model)


def _to_compress(model: keras.Model, recipe: Recipe) -> list[Planned]:
    """Returns the layers that a recipe changes; raises as `demand` does."""
    plans = planned(model, recipe)
    demand(model, recipe, plans)
    return [item for item in plans if item.plan.compresses]


def attach_to(
    model: keras.Model,
    recipe: Recipe,
    targets: list[Planned],
    left_out: list[layers.Layer],
) -> None:
    """Attaches a recipe to these layers of a plain model, whatever else it covers.

    Args:
        model: a built model that carries no recipe.
        recipe: what to do to it.
        targets: the layers and their plans, depth first.
        left_out: layers that are left alone for good.
    """
    with variable_scope(model):
        state = ModelState(recipe)
    state.left_out.update(left_out)
    state.seen.update(layer for _, layer in walk_layers(model) if layer.built)
    _compress(model, state, targets)


def _take_on(
    model: keras.Model, state: ModelState, recipe: Recipe, data: Batches | None
) -> Coverage:
    """Adds to a recipe that has begun what only `recipe` has."""
    wrong = contradictions(state.recipe, recipe)
    if wrong:
        raise ValueError(
            f"Model '{model.name}', or a part of it, already carries another recipe: "
            f"{', '.join(wrong)} differ. qsparse.strip(model) bakes it in; zeros are "
            "ordinary weights then, which a recipe that does not prune lets grow back."
        )
    _take_in(model, state)
    if merged(state.recipe, recipe) != state.recipe:
        targets = _to_compress(model, recipe)
        _check_optimizer(model, targets)
        state.recipe = merged(state.recipe, recipe)
        state.left_out.update(_excluded(model, recipe))
        _compress(model, state, targets)
        _warn_of_shortage(recipe, targets)
    _tap(model, data)
    return coverage(model)


def _take_in(model: keras.Model, state: ModelState) -> None:
    """Sees to layers that could not be compressed when the recipe was attached."""
    everything = replace(state.recipe, exclude=(), strict=False)
    covered = [
        target
        for target in surveyed(model, everything)
        if target.plan.compresses and target.layer not in state.left_out
    ]
    lacking = [target for target in covered if _lacks(target)]
    new = [target for target in lacking if target.layer not in state.seen]
    if new and state.time().step > 0:
        raise ValueError(
            f"Model '{model.name}', or a part of it, already carries the recipe, but "
            f"not {_listed(new)}, which came later. Build every layer before training "
            "(call the model on a batch); a model that has trained needs "
            "qsparse.strip(model) first."
        )
    old = [target for target in lacking if target not in new]
    if new:  # The first step built them.
        check_plans(model, everything, covered)
        late = {target.layer for target in new}
        state.seen.update(late)
        shared = allocated([t for t in covered if t not in old], state.recipe)
        _compress(model, state, [t for t in shared if t.layer in late])
        _share_anew(shared)
        _warn_of_shortage(state.recipe, shared)
    if old:
        warnings.warn(
            f"{_listed(old)} could not be pruned when the recipe was attached, as a "
            "layer that is frozen; now they could be, but stay dense. To prune them "
            "too, qsparse.strip(model) and train with a recipe anew.",
            stacklevel=4,
        )


def _share_anew(targets: list[Planned]) -> None:
    """Gives layers that are compressed already their share beside those that came."""
    for layer, plan in targets:
        child = compression_of(layer)
        if isinstance(child, KernelCompression) and child.plan.prunes and plan.prunes:
            child.plan = replace(child.plan, sparsity=plan.sparsity)


def _warn_of_shortage(recipe: Recipe, targets: list[Planned]) -> None:
    missing = shortage(recipe, targets)
    if missing is not None:
        warnings.warn(missing, stacklevel=3)


def _lacks(target: Planned) -> bool:
    """Returns whether a recipe covers more of a layer than the layer carries."""
    child = compression_of(target.layer)
    if isinstance(child, KernelCompression):
        return target.plan.prunes and not child.plan.prunes
    return child is None


def _listed(targets: list[Planned]) -> str:
    names = [f"'{target.plan.path}'" for target in targets]
    return ", ".join(names[:5]) + ", ..." * (len(names) > 5)


def _warn_of_lost_masks(model: keras.Model, targets: list[Planned]) -> None:
    """Warns if a plain model was pruned before: training would undo it unseen.

    Weights that were not pruned are hardly ever exactly zero, unless all of them are.
    """
    weights = zeros = 0
    for target in targets:
        if isinstance(target.layer, QUANTIZABLE):
            kernel = target.layer.get_weights()[0]
            weights += kernel.size
            zeros += int((kernel == 0).sum()) if kernel.any() else 0
    if zeros > _MANY_ZEROS * weights:
        warnings.warn(
            f"{zeros / weights:.0%} of the weights of model '{model.name}' are zero, "
            "but it has no masks: it was pruned, and then stripped or loaded by "
            "keras.models.load_model. Training treats these zeros as ordinary "
            "weights, which grow back. qsparse.load_model brings masks and ranges.",
            stacklevel=3,
        )


def _excluded(model: keras.Model, recipe: Recipe) -> list[layers.Layer]:
    rulebook = Rulebook(model, recipe, walk_layers(model))
    return [
        layer
        for path, layer in walk_layers(model)
        if rulebook.settings(path).left_alone
    ]


def _compress(model: keras.Model, state: ModelState, targets: list[Planned]) -> None:
    """Gives each layer what it lacks of the recipe in force."""
    with variable_scope(model):
        children = [
            compression_of(target.layer) or _compression(*target, state)
            for target in targets
        ]
        for target, child in zip(targets, children, strict=True):
            if child not in state.members:
                add_child(target.layer, CHILD, child)
                target.layer.__class__ = compressed_class(type(target.layer))
            elif isinstance(child, KernelCompression):
                with unlocked(child):
                    child.take_on(target.plan)
    state.members.update(children)
    # Under a layer, `model.weights` shows the state, whatever kind of model it is.
    # It is the first one, so that a file finds it there again.
    first, *others = compressions(model)
    for child in others:
        if hasattr(child, SHARED):
            remove_child(child, SHARED)
    if not hasattr(first, SHARED):
        add_child(first, SHARED, state)
    ranges = trained_ranges(model)
    if ranges:
        untap(model)
        retrain(model, added=ranges)
    _drop_functions(model, state)


def _drop_functions(model: keras.Model, state: ModelState | None) -> None:
    """Forgets the functions that hold the layers as they were, whoever owns them."""
    callers = [] if state is None else list(state.callers)
    for each in {model, *callers}:
        drop_compiled_functions(each)


def strip(model: keras.Model) -> keras.Model:
    """Bakes the effective weights in and gives the plain Keras layers back.

    Args:
        model: a model that carries a recipe; one that does not is left alone.

    Returns:
        The same model, with plain Keras classes; it saves and loads without
        qsparse, and its predictions are those of the pruned, quantized weights
        with float activations. Its zeros are ordinary weights from here on.

    Raises:
        ValueError: if the recipe was attached to a model that this is a part of.
    """
    _check_whole(model)
    state = state_of(model)  # as the variables are, if something restored them
    ranges = trained_ranges(model)
    for _, layer in walk_layers(model):
        child = compression_of(layer)
        if child is not None:
            child.detach()
            layer.__class__ = type(layer).original_class
            remove_child(layer, CHILD)
    untap(model)
    retrain(model, removed=ranges)
    _drop_functions(model, state)
    return model


def discard(model: keras.Model) -> None:
    """Takes a recipe off and leaves the dense weights as they are.

    For who attached it to look at what it would do.

    Args:
        model: a model that carries a recipe; one that does not is left alone.

    Raises:
        ValueError: as `strip` does.
    """
    state = state_of(model)
    if state is not None:
        state.turn(Switches())
    for layer in compressed_layers(model):
        if layer.mask_variable is not None:
            layer.mask_variable.assign(np.ones(layer.layout.shape, bool))
    strip(model)


def _check_whole(model: keras.Model) -> None:
    """Raises if layers of this model share their recipe with layers outside it."""
    found = set(compressions(model))
    outside = {c for member in found for c in member.state().members} - found
    if outside or len({id(c.state()) for c in found}) > 1:
        raise ValueError(
            f"Layers of model '{model.name}' were compressed as part of another "
            "model. qsparse.strip that model first."
        )


def _compression(
    layer: layers.Layer, plan: LayerPlan, state: ModelState
) -> Compression:
    if isinstance(layer, QUANTIZABLE):
        return KernelCompression(layer, plan, state)
    if isinstance(layer, NORMS):
        return FrozenStatistics(plan, state)
    quantizer = InputQuantizer(_input_count(layer), plan, state)
    if plan.output_format is not None:
        with unlocked(quantizer):
            quantizer.output_quantizer = OutputQuantizer(plan, state)
    return quantizer


def _input_count(layer: layers.Layer) -> int:
    merges = isinstance(layer, layers.Add | layers.Concatenate)
    return len(layer.get_build_config()["input_shape"]) if merges else 1
