"""Reports: what a recipe covers in a model, layer by layer."""

from dataclasses import asdict, dataclass
from typing import Any

import keras

from qsparse.keras_compat import walk_layers
from qsparse.kernel import KernelCompression
from qsparse.state import compression_of, state_of
from qsparse.targets import QUANTIZABLE, why_not_pruned


@dataclass(frozen=True)
class LayerCoverage:
    """One layer with a kernel.

    Attributes:
        path: where it lies in the model.
        kind: its class name.
        shape: its kernel's shape.
        pattern: the pattern of its mask, or "dense".
        sparsity: share of zeros in the mask, in [0, 1].
        int8: whether it trains with int8 fake quantization.
        reason: why it is not pruned; empty if it is.
    """

    path: str
    kind: str
    shape: tuple[int, ...]
    pattern: str
    sparsity: float
    int8: bool
    reason: str

    @property
    def weights(self) -> int:
        """Number of weights in the kernel."""
        size = 1
        for length in self.shape:
            size *= length
        return size


@dataclass(frozen=True)
class Coverage:
    """Every layer with a kernel, and the totals."""

    layers: tuple[LayerCoverage, ...]

    @property
    def sparsity(self) -> float:
        """Share of zeros among all kernels' weights, in [0, 1]."""
        total = sum(row.weights for row in self.layers)
        zeros = sum(row.weights * row.sparsity for row in self.layers)
        return zeros / total if total else 0.0

    @property
    def pruned_share(self) -> float:
        """Share of all kernels' weights that lie in pruned layers."""
        total = sum(row.weights for row in self.layers)
        pruned = sum(row.weights for row in self.layers if not row.reason)
        return pruned / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready description."""
        return {
            "sparsity": self.sparsity,
            "pruned_share": self.pruned_share,
            "layers": [asdict(row) for row in self.layers],
        }

    def __str__(self) -> str:
        width = max((len(row.path) for row in self.layers), default=5)
        lines = [f"{'layer':{width}}  {'kernel':18} {'pattern':14} sparsity  int8"]
        for row in self.layers:
            shape = "x".join(map(str, row.shape))
            lines.append(
                f"{row.path:{width}}  {shape:18} {row.pattern:14} "
                f"{row.sparsity:8.1%}  {'yes' if row.int8 else 'no ':4}"
                + (f" not pruned: {row.reason}" if row.reason else "")
            )
        lines.append(
            f"{self.sparsity:.1%} of all kernel weights are zero; "
            f"{self.pruned_share:.1%} lie in pruned layers."
        )
        return "\n".join(lines)


def coverage(model: keras.Model) -> Coverage:
    """Return what the attached recipe does to each layer with a kernel.

    Raises:
        ValueError: if the model carries no recipe.
    """
    state = state_of(model)
    if state is None:
        raise ValueError(
            f"Model '{model.name}' carries no recipe. Call qsparse.attach, or train "
            "it with a callback of qsparse.callbacks."
        )
    rows = []
    for path, layer in walk_layers(model):
        if not isinstance(layer, QUANTIZABLE) or not layer.built:
            continue
        child = compression_of(layer)
        compressed = child if isinstance(child, KernelCompression) else None
        mask = compressed.canonical_mask() if compressed is not None else None
        kernel = vars(layer).get("_kernel", vars(layer).get("kernel"))
        reason = why_not_pruned(layer, path, state.recipe) if mask is None else ""
        rows.append(
            LayerCoverage(
                path=path,
                kind=type(layer).__name__,
                shape=tuple(kernel.shape),
                pattern="dense" if mask is None else str(state.recipe.pattern),
                sparsity=0.0 if mask is None else 1.0 - float(mask.mean()),
                int8=compressed is not None and state.recipe.quantize,
                reason=reason or "",
            )
        )
    return Coverage(tuple(rows))
