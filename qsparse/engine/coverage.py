"""Reports: what a recipe covers in a model, layer by layer."""

from dataclasses import asdict, dataclass
from typing import Any

import keras

from qsparse.engine.kernel import KernelCompression
from qsparse.engine.state import compression_of, state_of
from qsparse.methods.formats import Int8
from qsparse.planning.plan import LayerPlan, Matrix, surveyed


@dataclass(frozen=True)
class LayerCoverage:
    """One matrix of weights of one layer; most layers have one, their kernel.

    Attributes:
        path: where the layer lies in the model.
        kind: the layer's class name.
        variable: the name of the weights, like "kernel" or "recurrent_kernel".
        shape: their shape.
        pattern: the pattern of its mask, or "dense".
        sparsity: share of zeros in the mask, in [0, 1].
        int8: whether it trains with fake quantization to int8.
        reason: why it is not pruned; empty if it is.
    """

    path: str
    kind: str
    variable: str
    shape: tuple[int, ...]
    pattern: str
    sparsity: float
    int8: bool
    reason: str

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

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description."""
        return {
            "sparsity": self.sparsity,
            "pruned_share": self.pruned_share,
            "layers": [asdict(row) for row in self.layers],
        }

    def __str__(self) -> str:
        names = [_name(row) for row in self.layers]
        width = max(map(len, names), default=5)
        lines = [f"{'layer':{width}}  {'kernel':18} {'pattern':14} sparsity  int8"]
        for name, row in zip(names, self.layers, strict=True):
            shape = "x".join(map(str, row.shape))
            lines.append(
                f"{name:{width}}  {shape:18} {row.pattern:14} "
                f"{row.sparsity:8.1%}  {'yes' if row.int8 else 'no ':4}"
                + (f" not pruned: {row.reason}" if row.reason else "")
            )
        lines.append(
            f"{self.sparsity:.1%} of all weights are zero; "
            f"{self.pruned_share:.1%} lie in pruned layers."
        )
        return "\n".join(lines)


def _name(row: LayerCoverage) -> str:
    return row.path if row.variable == "kernel" else f"{row.path}/{row.variable}"


def coverage(model: keras.Model) -> Coverage:
    """Returns what the attached recipe does to every matrix of weights.

    Raises:
        ValueError: if the model carries no recipe.
    """
    state = state_of(model)
    if state is None:
        raise ValueError(
            f"Model '{model.name}' carries no recipe. Call qsparse.attach, or train "
            "it with a callback of qsparse.callbacks."
        )
    rows = [
        _row(layer, plan, matrix)
        for layer, plan in surveyed(model, state.recipe)
        for matrix in plan.matrices
    ]
    return Coverage(tuple(rows))


def _row(layer: keras.layers.Layer, plan: LayerPlan, matrix: Matrix) -> LayerCoverage:
    child = compression_of(layer) if matrix.is_kernel else None
    compressed = child if isinstance(child, KernelCompression) else None
    mask = compressed.canonical_mask() if compressed is not None else None
    reason = ""
    if mask is None:
        reason = plan.reason or (
            # It may be prunable now: its weights train again, say.
            "it could not be pruned when the recipe was attached; qsparse.strip the "
            "model to start over"
            if matrix.is_kernel
            else f"only the kernel of {plan.kind} is pruned"
        )
    return LayerCoverage(
        path=plan.path,
        kind=plan.kind,
        variable=matrix.name,
        shape=matrix.shape,
        pattern="dense" if compressed is None else str(compressed.pattern or "dense"),
        sparsity=0.0 if mask is None else 1.0 - float(mask.mean()),
        int8=compressed is not None and isinstance(compressed.plan.weight_format, Int8),
        reason=reason,
    )
