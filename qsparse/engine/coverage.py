"""Reports: what a recipe covers in a model, layer by layer, and what it would cover."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import keras
import numpy as np

from qsparse.engine.kernel import KernelCompression
from qsparse.engine.state import compression_of, state_of
from qsparse.methods.formats import name_of
from qsparse.planning.checks import check_built, check_names
from qsparse.planning.plan import LayerPlan, Matrix, planned, surveyed
from qsparse.planning.recipe import Recipe
from qsparse.planning.work import count_macs

# Layers that are named where a sentence is about several.
_NAMED = 4


@dataclass(frozen=True)
class LayerCoverage:
    """One matrix of weights of one layer; most layers have one, their kernel.

    Attributes:
        path: where the layer lies in the model.
        kind: the layer's class name.
        variable: the name of the weights, like "kernel" or "recurrent_kernel".
        shape: their shape.
        pattern: the pattern of its mask, or "dense".
        sparsity: share of zeros in the mask, in [0, 1]; in a preview, at the end.
        macs: multiply-accumulates for one sample, zeros included; dimensions that
            the model leaves open count once. None where they are unknown.
        format: what it trains in: "float", or the format it is rounded to, like "int8".
        reason: why it is not pruned; empty if it is.
        rules: numbers of the recipe's rules that speak of the layer, from 1.
        conflicts: where one of them overrules another, a sentence each.
    """

    path: str
    kind: str
    variable: str
    shape: tuple[int, ...]
    pattern: str
    sparsity: float
    macs: int | None
    format: str
    reason: str
    rules: tuple[int, ...] = ()
    conflicts: tuple[str, ...] = ()

    @property
    def weights(self) -> int:
        """Number of weights in the matrix."""
        size = 1
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True)
class Coverage:
    """Every matrix of weights of a model, and the totals.

    A weight counts whatever layer holds it: all that is made to be trained and has
    two or more axes, but for biases and the vectors of normalizations.
    """

    layers: tuple[LayerCoverage, ...]

    @property
    def sparsity(self) -> float:
        """Share of zeros among all these weights, in [0, 1]."""
        total = sum(row.weights for row in self.layers)
        zeros = sum(row.weights * row.sparsity for row in self.layers)
        return zeros / total if total else 0.0

    @property
    def pruned_share(self) -> float:
        """Share of all these weights that lie in pruned layers."""
        total = sum(row.weights for row in self.layers)
        pruned = sum(row.weights for row in self.layers if not row.reason)
        return pruned / total if total else 0.0

    @property
    def macs(self) -> int:
        """Multiply-accumulates for one sample, as far as they are known."""
        return sum(row.macs or 0 for row in self.layers)

    @property
    def macs_left(self) -> int:
        """Those of them whose weight is not zero, rounded."""
        return round(sum((row.macs or 0) * (1 - row.sparsity) for row in self.layers))

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description."""
        return {
            "sparsity": self.sparsity,
            "pruned_share": self.pruned_share,
            "macs": self.macs,
            "macs_left": self.macs_left,
            "layers": [asdict(row) for row in self.layers],
        }

    def __str__(self) -> str:
        titles = ("layer", "kernel", "pattern", "zeros", "MACs", "trains in", "")
        table: list[tuple[str, ...]] = [titles]
        table += [_cells(row) for row in self.layers]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = ["  ".join(map(_padded, row, widths, _RIGHT)) for row in table]
        lines = [line.rstrip() for line in lines]
        left = self.macs_left / self.macs if self.macs else 1.0
        lines.append(
            f"{self.sparsity:.1%} of all weights are zero; "
            f"{self.pruned_share:.1%} lie in pruned layers. "
            f"{left:.1%} of {_short(self.macs)} MACs are left."
        )
        return "\n".join([*lines, *_conflicts(self.layers)])


# Which columns of the table stand at the right.
_RIGHT = (False, False, False, True, True, False, False)


def _cells(row: LayerCoverage) -> tuple[str, ...]:
    name = row.path if row.variable == "kernel" else f"{row.path}/{row.variable}"
    shape = "x".join(map(str, row.shape))
    macs = "-" if row.macs is None else _short(row.macs)
    reason = f"not pruned: {row.reason}" if row.reason else ""
    return name, shape, row.pattern, f"{row.sparsity:.1%}", macs, row.format, reason


def _padded(cell: str, width: int, right: bool) -> str:
    return cell.rjust(width) if right else cell.ljust(width)


def _short(count: int) -> str:
    """Returns a count as people say it: 1.23M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size:
            return f"{count / size:.3g}{unit}"
    return str(count)


def _conflicts(rows: Iterable[LayerCoverage]) -> list[str]:
    found: dict[str, list[str]] = {}
    for row in rows:
        for conflict in row.conflicts:
            found.setdefault(conflict, []).append(row.path)
    lines = []
    for conflict, paths in found.items():
        names = list(dict.fromkeys(paths))
        more = ", ..." if len(names) > _NAMED else ""
        lines.append(f"{conflict} in {', '.join(names[:_NAMED])}{more}")
    return lines


def coverage(model: keras.Model) -> Coverage:
    """Returns what the attached recipe does to every matrix of weights.

    Raises:
        ValueError: if the model carries no recipe.
    """
    state = state_of(model)
    if state is None:
        raise ValueError(
            f"Model '{model.name}' carries no recipe. Call qsparse.attach, or train "
            "it with a callback of qsparse.callbacks; qsparse.preview(model, recipe) "
            "shows what a recipe would do."
        )
    rows = [
        _row(layer, plan, matrix)
        for layer, plan in surveyed(model, state.recipe)
        for matrix in plan.matrices
    ]
    return Coverage(tuple(rows))


def preview(model: keras.Model, recipe: Any) -> Coverage:
    """Returns what a recipe would do to every matrix of weights, at its end.

    Nothing is trained and the model is not touched.

    Args:
        model: any built Keras model, compressed or not.
        recipe: a `qsparse.Recipe`, or a callback of `qsparse.callbacks`.

    Raises:
        ValueError: if the model is not built, or if a rule or an exclusion names no
            layer.

    Example:
    ```python
    print(qsparse.preview(model, PruneThenQuantize("2:4")))
    ```
    """
    recipe = getattr(recipe, "recipe", recipe)
    if not isinstance(recipe, Recipe):
        raise ValueError(
            "preview takes a qsparse.Recipe or a callback that has one. Received: "
            f"{recipe!r}"
        )
    check_built(model)
    check_names(model, recipe)
    rows = [
        _row_of_plan(layer, plan, matrix)
        for layer, plan in planned(model, recipe)
        for matrix in plan.matrices
    ]
    return Coverage(tuple(rows))


def _row(layer: keras.layers.Layer, plan: LayerPlan, matrix: Matrix) -> LayerCoverage:
    child = compression_of(layer) if matrix.is_kernel else None
    compressed = child if isinstance(child, KernelCompression) else None
    mask = compressed.canonical_mask() if compressed is not None else None
    reason = ""
    if mask is None:
        # It may be prunable now: its weights train again, say.
        reason = _why_dense(plan, matrix) or (
            "it could not be pruned when the recipe was attached; qsparse.strip the "
            "model to start over"
        )
    carried = None if compressed is None else compressed.plan
    return _described(layer, plan, matrix, carried, mask, reason)


def _row_of_plan(
    layer: keras.layers.Layer, plan: LayerPlan, matrix: Matrix
) -> LayerCoverage:
    carried = plan if matrix.is_kernel else None
    mask = None
    if carried is not None and plan.prunes and plan.layout is not None:
        # How many zeros a mask has does not depend on the scores.
        scores = np.ones(plan.layout.canonical_shape, np.float32)
        mask = plan.pattern.mask(scores, plan.sparsity) if plan.sparsity > 0 else scores
    reason = _why_dense(plan, matrix) if mask is None else ""
    return _described(layer, plan, matrix, carried, mask, reason)


def _why_dense(plan: LayerPlan, matrix: Matrix) -> str:
    """Returns why the plan lays no mask on a matrix; empty if it does."""
    if plan.reason or matrix.is_kernel:
        return plan.reason
    return f"only the kernel of {plan.kind} is pruned"


def _formats(plan: LayerPlan) -> str:
    """Returns what a layer trains in; its inputs too, where that is another format."""
    if plan.weight_format is None:
        return "float"
    name = name_of(plan.weight_format)
    if plan.input_format in (None, plan.weight_format):
        return name
    return f"{name}, inputs {name_of(plan.input_format)}"


def _described(
    layer: keras.layers.Layer,
    plan: LayerPlan,
    matrix: Matrix,
    carried: LayerPlan | None,
    mask: np.ndarray | None,
    reason: str,
) -> LayerCoverage:
    return LayerCoverage(
        path=plan.path,
        kind=plan.kind,
        variable=matrix.name,
        shape=matrix.shape,
        pattern="dense" if carried is None else str(carried.pattern or "dense"),
        sparsity=0.0 if mask is None else 1.0 - int(np.count_nonzero(mask)) / mask.size,
        macs=count_macs(layer, plan.layout) if matrix.is_kernel else None,
        format="float" if carried is None else _formats(carried),
        reason=reason,
        rules=plan.rules,
        conflicts=plan.conflicts,
    )
