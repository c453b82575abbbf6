"""Interaction: what sparsity and quantization cost a model, alone and together."""

from typing import Any

import keras
import numpy as np

from qsparse.engine.state import state_of
from qsparse.measures.arms import DENSE, QUANTIZED
from qsparse.measures.gauge import Metric, Samples, gauge_of, samples_of
from qsparse.measures.interaction_report import InteractionReport
from qsparse.measures.layer_errors import (
    Inputs,
    LayerInteraction,
    layer_interaction,
    relative_errors,
    seen_inputs,
)
from qsparse.measures.stage import Stage, staged, untraced
from qsparse.methods.validate import whole
from qsparse.planning.checks import check_built
from qsparse.planning.recipe import Recipe

# Samples that layers are looked at with: what flows into all of them is held.
_LOOKED_AT = 16


def analyse(
    model: keras.Model,
    recipe: Recipe,
    data: Any,
    metric: str | Metric | None = None,
    *,
    score_data: Any = None,
    batch_size: int = 64,
    batches: int = 8,
    renormalize: bool = True,
) -> InteractionReport:
    """Measures how sparsity and quantization interact in a model, without training.

    The model is measured as it is, pruned, quantized, and both in each order, as the
    recipe would leave it after training, were it trained no further. What it would be
    if the two did not interact is the orthogonality threshold of "Effective Interplay
    between Sparsity and Quantization" (equation 12; see `qsparse.analysis.threshold`).
    Beside it stands what each layer's weights and outputs lose, and how errors add up
    from layer to layer.

    The model is given back as it was, bit for bit, whatever ends the analysis; for
    that, a copy of its weights is held meanwhile, and masks of both orders.

    Args:
        model: a built Keras model, trained, without a recipe.
        recipe: what would be done: one that prunes and quantizes. What it says of time
            and gradients does not count.
        data: `(x, y)` or `(x, y, sample_weight)`; inputs alone, as an array, a list or
            a dict of them; or what yields batches of these, as a `tf.data.Dataset` or a
            `PyDataset`. Ranges and statistics of a plain model are found on them too.
        metric: as of `qsparse.sensitivity`: None for the compiled loss where there are
            labels, and for the noise of the outputs where there are none.
        score_data: what the recipe's criterion sees, as of `qsparse.attach`.
        batch_size: samples that the model sees at once.
        batches: how many batches of the data are used, from the first on.
        renormalize: whether the moving statistics of BatchNormalization are estimated
            anew in each arm, the dense one too, as `qsparse.one_shot` does. Without it,
            deep networks lose by stale statistics more than by anything that is
            measured here.

    Returns:
        The report; `print` shows it as tables.

    Raises:
        ValueError: if the recipe does not prune and quantize; if the model is not
            built or carries a recipe; if data or metric do not fit the model, or a
            metric is not finite; or as `qsparse.attach` does.
        TypeError: if `data` is none of these forms.

    Example:
    ```python
    recipe = qsparse.Recipe("2:4", format="int4")
    report = qsparse.analyse(model, recipe, (x[:500], y[:500]))
    print(report)
    ```
    """
    if not isinstance(recipe, Recipe):
        raise ValueError(
            "analyse takes a qsparse.Recipe, as in analyse(model, qsparse.Recipe("
            f"'2:4'), data). Received: {recipe!r}"
        )
    check_both(recipe)
    size, most = whole("batch_size", batch_size), whole("batches", batches)
    check_plain(model, "analyse")
    samples = samples_of(model, data, size, most)
    inputs = [x for x, _, _ in samples.batches]
    with staged(
        model, recipe, inputs, score_data=score_data, renormalize=renormalize
    ) as stage:
        return _compared(model, stage, samples, metric)


def check_both(recipe: Recipe) -> None:
    """Raises ValueError if a recipe does not prune and quantize."""
    if not (recipe.prunes and recipe.quantizes):
        lacking = "prune" if not recipe.prunes else "quantize"
        raise ValueError(
            f"This recipe does not {lacking}, so there is no interplay to look at. "
            "Take one that prunes and quantizes, as qsparse.Recipe('2:4')."
        )


def check_plain(model: keras.Model, name: str) -> None:
    """Raises ValueError if a model is none, is not built, or carries a recipe.

    Args:
        model: what a user gave.
        name: of the function that it was given to.
    """
    if not isinstance(model, keras.Model):
        raise ValueError(f"{name} looks at Keras models. Received: {model!r}")
    check_built(model)
    if state_of(model) is not None:
        raise ValueError(
            f"Model '{model.name}' carries a recipe, and {name} looks at plain models: "
            "before qsparse.attach, or after qsparse.strip. What a recipe came to that "
            "was carried out says qsparse.landed(model, data)."
        )


def _compared(
    model: keras.Model,
    stage: Stage,
    samples: Samples,
    metric: str | Metric | None,
) -> InteractionReport:
    """Takes a model from arm to arm; returns what was seen on the way."""
    arms, looked_at = stage.arms, first_samples(samples)
    values: dict[str, np.ndarray] = {}
    seen: dict[str, Inputs] = {}
    arriving: dict[str, dict[str, float]] = {}
    rows: list[LayerInteraction] = []
    gauge: Any = None
    for arm in arms.names:
        stage.go(arm)
        with untraced(model):
            seen[arm] = seen_inputs(model, arms.layers, looked_at)
        if arm == DENSE:
            gauge = gauge_of(model, samples, metric)
        values[arm] = gauge.measured_each(f"the model that is {arm}")
        if arm == QUANTIZED:  # Products are looked at with the ranges of this arm.
            rows = [
                layer_interaction(layer, masks, seen[DENSE].get(layer.path_in_model))
                for layer, masks in arms.masks_by_layer()
            ]
        if arm != DENSE:
            arriving[arm] = relative_errors(seen.pop(arm), seen[DENSE])
    return InteractionReport(
        metric=gauge.name,
        less_is_better=gauge.less_is_better,
        samples=samples.total,
        order=arms.order,
        values={arm: tuple(each) for arm, each in values.items()},
        weights=gauge.weights,
        layers=tuple(row.reached(arriving) for row in rows),
    )


def first_samples(samples: Samples) -> Any:
    """Returns the few samples that layers are looked at with."""
    inputs = samples.batches[0][0]
    return keras.tree.map_structure(lambda array: array[:_LOOKED_AT], inputs)
