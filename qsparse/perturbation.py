"""Perturbation: what pruning or rounding one layer alone does to a model.

Measured before a recipe is attached: which layers bear sparsity, which should be left
alone, and how an allocation may share the sparsity out.
"""

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np

from qsparse.engine.batches import Batches
from qsparse.engine.state import state_of
from qsparse.keras_compat import metric_direction, own_kernel, sync_variables
from qsparse.methods.allocations import Sensitivity
from qsparse.methods.formats import FORMATS, Format, name_of
from qsparse.methods.patterns import check_sparsity
from qsparse.methods.validate import real, whole
from qsparse.planning.checks import demand
from qsparse.planning.plan import LayerPlan, surveyed
from qsparse.planning.recipe import Recipe

# Seconds between two lines that say how far a measurement has come.
_SECONDS = 10.0

Metric = Callable[[keras.Model], float]


@dataclass(frozen=True)
class Measurement:
    """What one change of one layer did.

    Attributes:
        path: where the layer lies in the model.
        change: what was done: "50.0%" zeros asked for, or a format like "int8".
        asked: the sparsity that was asked for; 0 of a format.
        sparsity: the share of zeros that its mask had; 0 of a format.
        format: the name of the format; None where the layer was pruned.
        value: the metric with the change.
        drop: by how much that is worse than without; negative if it is better.
    """

    path: str
    change: str
    asked: float
    sparsity: float
    format: str | None
    value: float
    drop: float


@dataclass(frozen=True)
class SensitivityReport:
    """What every layer of a model bears, alone.

    Attributes:
        metric: what was measured: "loss", another compiled metric, the name of a
            function, or "noise", the power of what changed in the outputs over that of
            the outputs (`-10 * log10` of it is the SQNR in dB).
        baseline: its value for the model as it is; 0 for "noise".
        samples: how many samples it was measured on.
        rows: one for each layer and change, in the model's order.
    """

    metric: str
    baseline: float
    samples: int
    rows: tuple[Measurement, ...]

    @property
    def allocation(self) -> Sensitivity:
        """The `Sensitivity` that shares a recipe's sparsity out by these numbers.

        Raises:
            ValueError: if no layer was pruned.
        """
        curves: dict[str, dict[float, float]] = {}
        for row in self.rows:
            if row.sparsity > 0:
                curves.setdefault(row.path, {})[row.sparsity] = row.drop
        if not curves:
            raise ValueError(
                "No layer was pruned, so there is nothing to share out by. Measure "
                "with a recipe that has a pattern, and with sparsities."
            )
        return Sensitivity(tuple((p, tuple(c.items())) for p, c in curves.items()))

    def exclusions(
        self, max_drop: float, sparsity: float | None = None
    ) -> tuple[str, ...]:
        """Returns layers to leave alone, for `Recipe(exclude=...)`.

        Args:
            max_drop: how much a layer alone may cost.
            sparsity: the largest of the measured sparsities that counts. None: the
                least one of each layer; an allocation can spare it the others. What
                formats cost counts always.

        Returns:
            The paths of layers of which any row that counts drops by more.
        """
        limit = real("max_drop", max_drop)
        least: dict[str, float] = {}
        for row in self.rows:
            if row.format is None:
                least[row.path] = min(least.get(row.path, 1.0), row.asked)
        found = [
            row.path
            for row in self.rows
            if row.drop > limit
            and row.asked
            <= (least.get(row.path, 0.0) if sparsity is None else sparsity)
        ]
        return tuple(dict.fromkeys(found))

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description."""
        rows = [asdict(row) for row in self.rows]
        return {
            "metric": self.metric,
            "baseline": self.baseline,
            "samples": self.samples,
            "rows": rows,
        }

    def _columns(self) -> tuple[list[str], list[str], dict[tuple[str, str], float]]:
        """Returns layers, changes from mild to hard, and their drops."""
        layers = list(dict.fromkeys(row.path for row in self.rows))
        ordered = sorted(self.rows, key=lambda row: (row.format is not None, row.asked))
        changes = list(dict.fromkeys(row.change for row in ordered))
        return layers, changes, {(r.path, r.change): r.drop for r in self.rows}

    def __str__(self) -> str:
        layers, changes, drops = self._columns()
        width = max(map(len, layers), default=5)
        title = (
            f"{self.metric} {self.baseline:.4g} on {self.samples} samples; by how much "
            "it is worse with one layer"
        )
        lines = [title, f"{'layer':{width}}" + "".join(f"{c:>11}" for c in changes)]
        for path in layers:
            cells = [drops.get((path, change)) for change in changes]
            shown = ["-" if cell is None else f"{cell:.4g}" for cell in cells]
            lines.append(f"{path:{width}}" + "".join(f"{cell:>11}" for cell in shown))
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Draws the table as a PNG: a line for each change, over the layers.

        Args:
            path: where to write.

        Raises:
            ValueError: matplotlib is not installed.
        """
        try:
            from matplotlib.backends.backend_agg import FigureCanvasAgg
            from matplotlib.figure import Figure
        except ImportError as error:
            raise ValueError(
                "the plot needs matplotlib: pip install 'keras-qsparse[plot]'"
            ) from error
        layers, changes, drops = self._columns()
        figure = Figure(figsize=(max(6, 0.3 * len(layers)), 5), layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots()
        for change in changes:
            cells = [drops.get((layer, change), np.nan) for layer in layers]
            axes.plot(range(len(layers)), cells, marker="o", label=change)
        axes.axhline(0.0, color="#8a8f98", linewidth=0.8)
        axes.set_xticks(range(len(layers)), layers, rotation=90)
        axes.set(ylabel=f"{self.metric}: worse by", title="one layer at a time")
        axes.legend()
        figure.savefig(path, dpi=120)


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
            are none. Or the name of a compiled metric, or a function of the model that
            returns a number that is higher where the model is better.
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
    found = _samples(model, data, size, most)
    gauge = _gauge(model, found, metric)
    rows = []
    with _given_back(model):
        baseline = _finite(gauge.measure(), gauge, "the model as it is")
        for change in _told(changes):
            with change.made() as zeros:
                value = gauge.measure()
            place = f"{change.name} of '{change.path}'"
            rows.append(
                Measurement(
                    path=change.path,
                    change=change.name,
                    asked=change.asked,
                    sparsity=zeros,
                    format=None if change.asked else change.name,
                    value=_finite(value, gauge, place),
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
    if not model.built or state_of(model) is not None:
        has = "carries a recipe" if model.built else "is not built"
        raise ValueError(
            f"Model '{model.name}' {has}. Measure a plain, built model: before "
            "qsparse.attach, or after qsparse.strip."
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


class _Samples(NamedTuple):
    """The batches that a model is measured on.

    Attributes:
        batches: `(x, y, sample_weight)` each.
        sizes: how many samples each has.
    """

    batches: list[tuple[Any, Any, Any]]
    sizes: list[int]

    @property
    def total(self) -> int:
        """How many samples there are."""
        return sum(self.sizes)

    @property
    def labelled(self) -> bool:
        """Whether they have labels."""
        return all(y is not None for _, y, _ in self.batches)


def _samples(model: keras.Model, data: Any, batch_size: int, batches: int) -> _Samples:
    """Returns the first batches of what a user calls data."""
    if batch_size < 1 or batches < 1:
        raise ValueError(
            "`batch_size` and `batches` must be positive. "
            f"Received: batch_size={batch_size}, batches={batches}"
        )
    read = Batches(data, "data", rows=batch_size, model=model)
    found = list(islice(read, batches))
    if not found:
        raise read.nothing()
    return _Samples(found, [len(keras.tree.flatten(x)[0]) for x, _, _ in found])


class _Gauge(NamedTuple):
    """What a model is measured by.

    Attributes:
        name: what it is called.
        less_is_better: whether less of it is better.
        measure: returns it, as the model is now.
    """

    name: str
    less_is_better: bool
    measure: Callable[[], float]


def _gauge(
    model: keras.Model, samples: _Samples, metric: str | Metric | None
) -> _Gauge:
    """Returns what a user asks to be measured, or what there are data for."""
    if callable(metric):
        name = getattr(metric, "__name__", type(metric).__name__)
        return _Gauge(name, False, lambda: float(metric(model)))
    if metric is None and not samples.labelled:
        return _Gauge("noise", True, _noise(model, samples))
    name = "loss" if metric is None else metric
    if not samples.labelled or not model.compiled:
        lacking = "are no labels" if model.compiled else "is no compiled loss"
        raise ValueError(
            f"There {lacking} to measure metric={name!r} by. Compile the model and "
            "give data=(x, y); inputs alone are measured by the noise of the "
            "outputs; or let `metric` be a function of the model."
        )
    direction = metric_direction(model, name)
    if direction is None:
        raise ValueError(
            f"metric={name!r} is no compiled metric, or Keras does not know whether "
            "more of it is better. Give the name of another, None for the loss, or a "
            "function of the model that is higher where the model is better."
        )

    def measure() -> float:
        values = [
            model.test_on_batch(*batch, return_dict=True)[name]
            for batch in samples.batches
        ]
        return float(np.average(values, weights=samples.sizes))

    return _Gauge(name, direction == "down", measure)


def _noise(model: keras.Model, samples: _Samples) -> Callable[[], float]:
    """Returns a measure of how far outputs are from those of now."""

    def outputs() -> list[np.ndarray]:
        return [
            np.asarray(output, np.float64)
            for batch in samples.batches
            for output in keras.tree.flatten(model.predict_on_batch(batch[0]))
        ]

    clean = outputs()
    power = sum(float(np.square(output).sum()) for output in clean)
    if not power > 0:
        raise ValueError(
            f"The outputs of model '{model.name}' are all zero, or not numbers, on "
            "these data: nothing to compare with."
        )

    def measure() -> float:
        pairs = zip(outputs(), clean, strict=True)
        return sum(float(np.square(now - then).sum()) for now, then in pairs) / power

    return measure


def _finite(value: float, gauge: _Gauge, place: str) -> float:
    if not np.isfinite(value):
        raise ValueError(
            f"{gauge.name} is {value} for {place}. Look for NaN in data and weights, "
            "or measure something that stays finite."
        )
    return float(value)


@contextmanager
def _given_back(model: keras.Model) -> Iterator[None]:
    """Gives a model back as it was, whatever happens meanwhile.

    On JAX a batch that is broken off leaves the state of an earlier one behind, which
    the next `fit` would go on with.
    """
    variables = {id(v): v for v in (*model.variables, *model.metrics_variables)}
    before = [(v, np.array(v.numpy())) for v in variables.values()]
    try:
        yield
    finally:
        sync_variables(model)
        for variable, value in before:
            variable.assign(value)


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
