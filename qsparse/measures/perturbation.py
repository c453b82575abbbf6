"""Perturbation: what pruning or rounding one layer alone does to a model.

Measured before a recipe is attached: which layers bear sparsity, which should be left
alone, and how an allocation may share the sparsity out.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np

from qsparse.engine.state import state_of
from qsparse.keras_compat import own_kernel
from qsparse.measures.gauge import Metric, gauge_of, samples_of
from qsparse.measures.given_back import given_back
from qsparse.measures.perturbation_report import Measurement, SensitivityReport
from qsparse.methods.formats import FORMATS, Format, name_of
from qsparse.methods.patterns import check_sparsity
from qsparse.methods.validate import whole
from qsparse.planning.checks import check_built, demand
from qsparse.planning.plan import LayerPlan, surveyed
from qsparse.planning.recipe import Recipe

# Seconds between two lines that say how far a measurement has come.
_SECONDS = 10.0


def sensitivity(
    model: keras.Model,
    data: Any,
    recipe: Recipe | None = None,
    sparsities: Sequence[float] = (0.5, 0.75, 0.9),
    formats: Sequence[Any] = ("int8",),
    metric: str | Metric | None = None,
    *,
    batch_size: int = 64,
    batches: int = 8,
) -> SensitivityReport:
    """Measures what pruning or rounding one layer alone does to a model.

    Each layer that the recipe would prune is pruned at each sparsity, with the
    recipe's pattern and criterion; the weights of each layer that it would quantize
    are rounded to each format (its inputs are not). Nothing is trained. The model is
    given back as it was, bit for bit, whatever ends the measurement; for that, a copy
    of its weights is held meanwhile.

    Args:
        model: a built model that carries no recipe.
        data: `(x, y)` or `(x, y, sample_weight)`; inputs alone, as an array, a list or
            a dict of them; or what yields batches of these, as a `tf.data.Dataset` or a
            `PyDataset`.
        recipe: whose pattern, criterion and exclusions count; None: `Recipe()`.
        sparsities: in (0, 1). A pattern of a fixed sparsity is measured at that only.
        formats: names or instances of formats; empty for none.
        metric: None for the compiled loss where there are labels, with penalties on
            weights as Keras adds them, and for the noise of the outputs where there
            are none; "noise" for that in any case. Or the name of a compiled metric, or
            a function of the model that returns a number that is higher where the model
            is better.
        batch_size: samples that the model sees at once.
        batches: how many batches of the data are used, from the first on.

    Returns:
        The report; `print` shows it as a table. Runs of more than some seconds say on
        stderr how far they are.

    Raises:
        ValueError: if the model is not built, carries a recipe, or has nothing to
            measure; if a criterion scores by what comes from training or from data; if
            data or metric do not fit the model; or if a metric is not finite.
        TypeError: if `data` is none of these forms.

    Example:
    ```python
    report = qsparse.sensitivity(model, (x[:500], y[:500]))
    print(report)
    recipe = qsparse.Recipe(
        allocation=report.allocation, exclude=report.exclusions(max_drop=0.5)
    )
    ```
    """
    recipe = Recipe() if recipe is None else recipe
    changes = _changes(model, recipe, sparsities, formats)
    size, most = whole("batch_size", batch_size), whole("batches", batches)
    found = samples_of(model, data, size, most)
    rows = []
    with given_back(model):
        gauge = gauge_of(model, found, metric)
        baseline = gauge.measured("the model as it is")
        for change in _told(changes):
            with change.made() as zeros:
                value = gauge.measured(f"{change.name} of '{change.path}'")
            rows.append(
                Measurement(
                    path=change.path,
                    change=change.name,
                    asked=change.asked,
                    sparsity=zeros,
                    format=None if change.asked else change.name,
                    value=value,
                    drop=value - baseline if gauge.less_is_better else baseline - value,
                )
            )
    return SensitivityReport(gauge.name, baseline, found.total, tuple(rows))


class _Change(NamedTuple):
    """A change of one kernel.

    Attributes:
        path: where its layer lies in the model.
        name: what is done to it.
        asked: the sparsity it is pruned to; 0 if it is not.
        kernel: the variable.
        apply: gets the kernel, canonical; returns it changed, and its share of zeros.
        plan: the layer's.
    """

    path: str
    name: str
    asked: float
    kernel: keras.Variable
    apply: Callable[[np.ndarray], tuple[np.ndarray, float]]
    plan: LayerPlan

    @contextmanager
    def made(self) -> Iterator[float]:
        """Changes the kernel, gives its share of zeros, and changes it back."""
        layout: Any = self.plan.layout
        before = np.array(self.kernel.numpy())
        weights = layout.canonical(before.astype(np.float32, copy=False))
        after, zeros = self.apply(weights)
        try:
            self.kernel.assign(layout.kernel(after).astype(before.dtype))
            yield zeros
        finally:
            self.kernel.assign(before)


def _changes(
    model: keras.Model,
    recipe: Recipe,
    sparsities: Sequence[float],
    formats: Sequence[Any],
) -> list[_Change]:
    """Returns what is to be tried, in the model's order."""
    check_built(model)
    if state_of(model) is not None:
        raise ValueError(
            f"Model '{model.name}' carries a recipe. Measure a plain, built model: "
            "before qsparse.attach, or after qsparse.strip."
        )
    shares = [check_sparsity(share, "qsparse.sensitivity") for share in sparsities]
    rounded = [FORMATS.get(each) for each in formats]
    plans = surveyed(model, recipe)
    demand(model, recipe, plans)
    found: list[_Change] = []
    for layer, plan in plans:
        kernel: Any = own_kernel(layer)
        if plan.prunes:
            plan.statistics()
            fixed = plan.fixed
            for share in filter(None, shares if fixed is None else [fixed]):
                prune = partial(_pruned, plan, share)
                name = f"{share:.1%}"
                found.append(_Change(plan.path, name, share, kernel, prune, plan))
        if plan.weight_format is not None:
            for each in rounded:
                round_to, name = partial(_rounded, each), name_of(each)
                found.append(_Change(plan.path, name, 0.0, kernel, round_to, plan))
    return found


def _pruned(
    plan: LayerPlan, share: float, weights: np.ndarray
) -> tuple[np.ndarray, float]:
    scores = plan.criterion.score(weights, **plan.statistics())
    mask = plan.pattern.mask(np.asarray(scores), share)
    return weights * mask, 1.0 - np.count_nonzero(mask) / mask.size


def _rounded(format: Format, weights: np.ndarray) -> tuple[np.ndarray, float]:
    return format.decode(*format.encode(weights)), 0.0


def _told(changes: list[_Change]) -> Iterator[_Change]:
    """Yields changes; says now and then on stderr how many are done."""
    last = time.monotonic()
    for done, change in enumerate(changes):
        if time.monotonic() - last > _SECONDS:
            last = time.monotonic()
            print(
                f"qsparse.sensitivity: {done} of {len(changes)}, now {change.name} of "
                f"'{change.path}'",
                file=sys.stderr,
                flush=True,
            )
        yield change
