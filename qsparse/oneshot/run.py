"""One-shot compression: a model and a few hundred samples, no training."""

import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np

from qsparse.engine.compressor import attach, compressed_layers, discard
from qsparse.engine.feed import read
from qsparse.engine.kernel import KernelCompression
from qsparse.engine.state import state_of
from qsparse.keras_compat import own_kernel, walk_layers
from qsparse.methods.validate import whole
from qsparse.oneshot.base import ONE_SHOT, Method
from qsparse.oneshot.choice import solve
from qsparse.oneshot.problem import Problem, rows_of
from qsparse.oneshot.report import LayerResult, OneShotReport
from qsparse.oneshot.settle import complete, estimate_statistics
from qsparse.oneshot.shares import shared_out
from qsparse.oneshot.watch import grams, stops
from qsparse.planning.checks import check_built
from qsparse.planning.plan import LayerPlan
from qsparse.planning.recipe import Recipe
from qsparse.planning.targets import NORMS, PRUNABLE, QUANTIZABLE


def one_shot(
    model: keras.Model,
    recipe: Recipe,
    data: Any,
    method: Any = "sparsegpt",
    *,
    samples: int = 512,
    batch_size: int = 32,
    memory: int = 2 << 30,
    renormalize: bool = True,
    verbose: int = 1,
) -> OneShotReport:
    """Compresses a trained model without training, in place.

    Layer by layer, in the order they are called and each on what the compressed layers
    before it hand on: a mask by `method`, then the weights that reproduce the layer's
    outputs best with it, rounded one after the other so that the others make up for it.
    Then BatchNormalization is estimated anew, and the recipe's observer finds the
    ranges of activations. The model is then in the state that a training leaves which
    has carried out the recipe: save, export, strip it, or train on; masks stay.

    On these samples no layer errs more than by magnitude's mask with the best weights
    for that, or with its own; rounded or not.

    Args:
        model: a built Keras model, trained, with no recipe that has begun.
        recipe: what to do to it. What it says of time (schedule, moments) and of
            gradients (estimator, regrowth) counts if the model is trained on. Its
            criterion is for `method="magnitude"`, and for an allocation by scores,
            which are those of the weights before any layer is compressed.
        data: representative samples, as `qsparse.export` takes them: an array, a list
            or dict of arrays, or an iterable of batches, with labels or without.
        method: `"sparsegpt"`, a sweep for layers of any size; `"obs"`, exact greedy
            elimination for layers of a few hundred columns, slow beyond; `"magnitude"`,
            the recipe's criterion alone; an instance, or the name of one's own in
            `qsparse.oneshot.ONE_SHOT`. Where the recipe does not prune, only rounding
            is left to do, and the first two are equal.
        samples: most samples to read. They are held; what they become inside of the
            model is not.
        batch_size: samples of a call. Each is a step to the observer of ranges.
        memory: bytes for the Gram matrices of layers that are looked at together, each
            `8 * (taps * inputs)^2`; as much again is worked in, and some copies of a
            layer's own matrix.
        renormalize: whether the moving statistics of BatchNormalization are estimated
            on the data.
        verbose: 0 is silent; 1 writes a line for each layer on stderr.

    Returns:
        What became of each layer; `print` it.

    Raises:
        ValueError: if an argument is out of range, the data does not fit the model or
            is not finite, the model is not built or carries a recipe that has begun, a
            layer's matrix does not fit into `memory`, a format has scales of blocks, or
            as `qsparse.attach` does.
        TypeError: if `data` is none of these forms.

        Whatever is raised, `KeyboardInterrupt` too, leaves the model as it was.
    """
    start = time.perf_counter()
    if not isinstance(recipe, Recipe):
        raise ValueError(
            "one_shot takes a qsparse.Recipe, as in one_shot(model, "
            f"qsparse.Recipe('2:4'), data). Received: {recipe!r}"
        )
    chosen: Method = ONE_SHOT.get(method)
    numbers = {"samples": samples, "batch_size": batch_size, "memory": memory}
    for name, number in numbers.items():
        if whole(name, number) < 1:
            raise ValueError(f"`{name}` must be positive. Received: {name}={number}")
    _check_plain(model)
    feed = read(model, data, samples, "data")
    with _all_or_nothing(model):
        attach(model, recipe)
        layers = compressed_layers(model)
        _check_formats(layers)
        plans = shared_out(layers, recipe)
        layers[0].state().untraced = True
        solved = [layer for layer in layers if _is_solved(layer)]
        way = stops(model, feed, solved, memory)
        rows = []
        for stop in way:
            found = grams(model, feed, batch_size, stop)
            for layer in stop.layers:
                rows.append(_solved(layer, plans, found.pop(0), chosen, memory))
                if verbose:
                    _show(rows[-1], len(rows), len(solved))
        count = 0
        if renormalize:
            count = estimate_statistics(model, feed.batches(batch_size))
        complete(model, feed.batches(batch_size))
        layers[0].state().untraced = False
    rounded = [x for x in layers if x not in solved and x.plan.weight_format]
    return OneShotReport(
        method=_name(chosen),
        samples=feed.count,
        layers=tuple(rows),
        rounded=tuple(layer.path_in_model for layer in rounded),
        renormalized=count,
        seconds=time.perf_counter() - start,
    )


def _name(method: Method) -> str:
    return ONE_SHOT.to_dict(method)["name"]


def _check_plain(model: keras.Model) -> None:
    check_built(model)
    state = state_of(model)
    if state is not None and state.begun:
        raise ValueError(
            f"Model '{model.name}' carries a recipe that has begun. one_shot starts "
            "from a plain model: qsparse.strip(model) bakes in what it has."
        )


def _check_formats(layers: Sequence[KernelCompression]) -> None:
    for layer in layers:
        format = layer.plan.weight_format
        if getattr(format, "blockwise", False):
            raise ValueError(
                f"Layer '{layer.path_in_model}' is to be rounded to {format}, whose "
                "scales belong to blocks. one_shot finds weights on a grid for each "
                "output, as those of int8 and int4 are: choose such a format, or "
                "train in this one."
            )


def _is_solved(layer: KernelCompression) -> bool:
    """Returns whether a layer's outputs are sums over all its inputs."""
    owner = layer.owner()
    plan = layer.plan
    return (
        isinstance(owner, PRUNABLE)
        and getattr(owner, "groups", 1) == 1
        and (plan.prunes or plan.weight_format is not None)
    )


def _solved(
    layer: KernelCompression,
    plans: Mapping[str, LayerPlan],
    gram: np.ndarray,
    method: Method,
    memory: int,
) -> LayerResult:
    """Gives a layer the mask and the weights that a method finds."""
    start = time.perf_counter()
    plan = plans[layer.path_in_model]
    weights = rows_of(layer.master()).astype(np.float64)
    problem = Problem(weights, gram, layer.layout.canonical_shape, memory=memory)
    found = solve(problem, plan, method)
    layer.put(found.values, found.mask)
    return LayerResult(
        path=layer.path_in_model,
        pattern="dense" if plan.pattern is None else str(plan.pattern),
        sparsity=0.0 if found.mask is None else 1.0 - float(found.mask.mean()),
        error=found.error,
        magnitude=found.baseline,
        seconds=time.perf_counter() - start,
    )


def _show(row: LayerResult, done: int, total: int) -> None:
    line = f"one_shot {done}/{total} {row.path}: error {row.error:.3g}"
    print(f"{line}, magnitude {row.magnitude:.3g}", file=sys.stderr, flush=True)


@contextmanager
def _all_or_nothing(model: keras.Model) -> Iterator[None]:
    """Gives the model back as it was, recipe and all, if anything is raised."""
    state = state_of(model)
    recipe = None if state is None else state.recipe
    held = [(variable, np.array(variable)) for variable in _changing(model)]
    try:
        yield
    except BaseException:
        for variable, value in held:
            variable.assign(value)
        discard(model)
        if recipe is not None:
            attach(model, recipe)
        raise


def _changing(model: keras.Model) -> Iterator[keras.Variable]:
    """Yields the variables of a plain model that one_shot writes to."""
    for _, layer in walk_layers(model):
        kernel = own_kernel(layer) if isinstance(layer, QUANTIZABLE) else None
        if kernel is not None:
            yield kernel
        if isinstance(layer, NORMS):
            yield from layer.non_trainable_variables
