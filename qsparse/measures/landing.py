"""Landing: what a recipe came to that was carried out."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import zip_longest
from typing import Any, NamedTuple

import keras

from qsparse.engine.compressor import attach, discard
from qsparse.engine.kernel import KernelCompression, compressed_layers
from qsparse.engine.phases import Phases
from qsparse.engine.state import state_of
from qsparse.measures.arms import DENSE, PRUNED, PRUNED_FIRST, QUANTIZED, Arms
from qsparse.measures.gauge import Metric, Samples, gauge_of, samples_of
from qsparse.measures.given_back import given_back
from qsparse.measures.interaction import (
    check_both,
    check_plain,
    first_samples,
)
from qsparse.measures.landing_report import Landing, RoundedLayer
from qsparse.measures.layer_errors import (
    format_of,
    relative_errors,
    rounding_error,
    seen_inputs,
)
from qsparse.measures.stage import untraced
from qsparse.methods.validate import whole
from qsparse.oneshot.settle import find_ranges


def landed(
    model: keras.Model,
    data: Any,
    metric: str | Metric | None = None,
    *,
    baseline: keras.Model | None = None,
    batch_size: int = 64,
    batches: int = 8,
) -> Landing:
    """Measures what rounding costs a model that was pruned and quantized in training.

    The model is measured as it is, and without rounding. With a dense model beside it,
    trained as well as one can, that is measured as it is and rounded, without training:
    then it shows whether rounding costs the sparse model more than the dense one. If
    it did not, the sparse, quantized model would be at the orthogonality threshold of
    "Effective Interplay between Sparsity and Quantization" (equation 12).

    Both models are given back as they were, bit for bit.

    Args:
        model: a model that carries a recipe that prunes and quantizes, and was trained.
        data: as of `qsparse.analyse`. Ranges of the baseline are found on them too.
        metric: as of `qsparse.sensitivity`.
        baseline: a dense model of the same structure, compiled alike, without a recipe.
        batch_size: samples that a model sees at once.
        batches: how many batches of the data are used, from the first on.

    Raises:
        ValueError: if the model carries no recipe that has begun, one that does not
            prune and quantize, or one that has not begun to round; if the baseline is
            not built, carries a recipe or has other layers; if data or metric do not
            fit, or a metric is not finite.
        TypeError: if `data` is none of these forms.
    """
    state = state_of(model)
    if state is None or not state.begun:
        raise ValueError(
            f"Model '{model.name}' carries no recipe that has begun. What one would "
            "come to says qsparse.analyse(model, recipe, data)."
        )
    check_both(state.recipe)
    if not state.fake_quantizes:
        raise ValueError(
            f"Model '{model.name}' has not begun to round: its recipe quantizes from "
            f"{state.recipe.quantize_from} on. Train on, or give the callback the "
            "total_epochs of all calls of fit."
        )
    if baseline is not None:
        check_plain(baseline, "landed")
        if metric is None and model.compiled and not baseline.compiled:
            raise ValueError(
                "The baseline is not compiled, so that it has no loss to compare. "
                "Compile it as the model is, or give metric='noise'."
            )
    size, most = whole("batch_size", batch_size), whole("batches", batches)
    samples = samples_of(model, data, size, most)
    arms = Arms(model)
    with given_back(model), arms.left():
        own = _rounded(model, arms, (PRUNED, arms.order), samples, metric)
    values, dense = own.values, _Rounded({}, {}, {})
    if baseline is not None:
        dense = _of_baseline(model, baseline, samples, metric)
        values = dense.values | values
    return Landing(
        metric=own.gauge.name,
        less_is_better=own.gauge.less_is_better,
        samples=samples.total,
        order=arms.order,
        values=values,
        weights=own.gauge.weights,
        layers=tuple(
            RoundedLayer(
                path=layer.path_in_model,
                sparsity=0.0 if mask is None else 1.0 - float(mask.mean()),
                format=format_of(layer),
                sparse=own.layers.get(layer.path_in_model),
                dense=dense.layers.get(layer.path_in_model),
                arriving=own.arriving.get(layer.path_in_model),
            )
            for layer, mask in zip(arms.layers, arms.masks(arms.order), strict=True)
        ),
    )


class _Rounded(NamedTuple):
    """What rounding costs a model.

    Attributes:
        values: by arm, the metric of each batch.
        layers: by path, the relative error of a layer's outputs by rounding.
        arriving: by path, that of what flows into it.
        gauge: what was measured by.
    """

    values: dict[str, tuple[float, ...]]
    layers: dict[str, float]
    arriving: dict[str, float]
    gauge: Any = None


def _rounded(
    model: keras.Model,
    arms: Arms,
    pair: tuple[str, str],
    samples: Samples,
    metric: str | Metric | None,
) -> _Rounded:
    """Compares two arms of a model, one that does not round and one that does."""
    plain, rounded = pair
    looked_at = first_samples(samples)
    arms.take(plain)
    gauge = gauge_of(model, samples, metric)
    values = {plain: tuple(gauge.measured_each(f"the {plain} model"))}
    with untraced(model):
        clean = seen_inputs(model, arms.layers, looked_at)
    arms.take(rounded)
    if rounded == QUANTIZED:  # It was dense so far, and has no ranges.
        with untraced(model):
            find_ranges(model, [x for x, _, _ in samples.batches])
    values[rounded] = tuple(gauge.measured_each(f"the model that is {rounded}"))
    with untraced(model):
        seen = seen_inputs(model, arms.layers, looked_at)
    errors = {}
    for index, layer in enumerate(arms.layers):
        path = layer.path_in_model
        masks = (arms.masks(plain)[index], arms.masks(rounded)[index])
        error = rounding_error(layer, *masks, clean.get(path, ()))
        if error is not None:
            errors[path] = error
    return _Rounded(values, errors, relative_errors(seen, clean), gauge)


def _of_baseline(
    model: keras.Model,
    baseline: keras.Model,
    samples: Samples,
    metric: str | Metric | None,
) -> _Rounded:
    """Returns what rounding costs a dense model, by the recipe of a sparse one."""
    state: Any = state_of(model)
    check_plain(baseline, "baseline=")
    with given_back(baseline):
        try:
            attach(baseline, replace(state.recipe, order=PRUNED_FIRST))
            Phases(baseline).complete()
            arms = Arms(baseline)
            ours = _alike(compressed_layers(model), arms.layers)
            found = _rounded(baseline, arms, (DENSE, QUANTIZED), samples, metric)
            named = {ours[path]: error for path, error in found.layers.items()}
            return found._replace(layers=named)
        finally:
            discard(baseline)


def _alike(
    ours: Sequence[KernelCompression], theirs: Sequence[KernelCompression]
) -> dict[str, str]:
    """Returns the paths of our layers, by those of the same layers of another model.

    Layers are the same by their place and shape: Keras numbers names anew for each
    model.

    Raises:
        ValueError: if two models do not have the same compressed layers.
    """
    for one, other in zip_longest(ours, theirs):
        if _shape(one) != _shape(other):
            path = (one or other).path_in_model
            raise ValueError(
                f"The baseline must be of the model's structure. At layer '{path}' "
                f"the model has {_described(one)}, and the baseline "
                f"{_described(other)}."
            )
    pairs = zip(ours, theirs, strict=True)
    return {other.path_in_model: one.path_in_model for one, other in pairs}


def _shape(layer: KernelCompression | None) -> tuple[int, ...] | None:
    return None if layer is None else layer.layout.shape


def _described(layer: KernelCompression | None) -> str:
    if layer is None:
        return "none"
    return f"'{layer.path_in_model}' with a kernel {layer.layout.shape}"
