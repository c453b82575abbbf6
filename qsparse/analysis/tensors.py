"""What pruning and quantizing a tensor cost, alone and in each order."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qsparse.analysis.arguments import compressed

_NORMS = (1, 2, float("inf"))


@dataclass(frozen=True)
class TensorErrors:
    """Norms of `w - f(w)` for one tensor.

    Attributes:
        norm: 1, 2 or infinity.
        pruned: of `S`.
        quantized: of `Q`.
        pruned_first: of `Q(S(w))`.
        quantized_first: of `S(Q(w))`.
        size: the norm of the tensor itself, which makes them relative.
    """

    norm: float
    pruned: float
    quantized: float
    pruned_first: float
    quantized_first: float
    size: float

    @property
    def sum(self) -> float:
        """What orthogonal transformations would not exceed (definition 3.4)."""
        return self.pruned + self.quantized

    @property
    def order_gap(self) -> float:
        """By which share quantizing first costs more; negative if it costs less."""
        if self.pruned_first == 0.0:
            return 0.0 if self.quantized_first == 0.0 else float("inf")
        return self.quantized_first / self.pruned_first - 1.0


def tensor_errors(
    weights: Any,
    pattern: Any,
    format: Any,
    *,
    sparsity: float | None = None,
    norm: float = 2,
) -> TensorErrors:
    """Returns what pruning by magnitude and quantizing cost a tensor.

    Theorem 3.5 of the paper: where scales follow from the greatest size in a block, and
    masks keep that weight or nothing of the block, `pruned_first` is not above `sum`.
    N:M and unstructured masks do so for formats whose blocks hold whole groups. Masks
    of tiles need not, as they go by sums, and scales of an asymmetric `BlockInt` follow
    from both ends. Quantizing first may exceed it (theorem 3.6).

    Args:
        weights: float `(inputs, outputs)` or `(taps, inputs, outputs)`, finite.
        pattern: of the mask, as of `qsparse.Recipe`.
        format: as of `qsparse.Recipe`.
        sparsity: share of zeros; None for what an N:M pattern implies.
        norm: 1, 2 or infinity.

    Raises:
        ValueError: if one of them is none of these.
    """
    if norm not in _NORMS:
        raise ValueError(f"`norm` must be 1, 2 or infinity. Received: norm={norm!r}")
    tensor = compressed(weights, pattern, format, sparsity)
    return errors_of(
        tensor.weights,
        tensor.pruned,
        tensor.quantized,
        tensor.pruned_first,
        tensor.quantized_first,
        norm=norm,
    )


def errors_of(
    weights: np.ndarray,
    pruned: np.ndarray,
    quantized: np.ndarray,
    pruned_first: np.ndarray,
    quantized_first: np.ndarray,
    *,
    norm: float = 2,
) -> TensorErrors:
    """Returns the errors of a tensor that is there in all its forms.

    Args:
        weights: the tensor itself, `w`.
        pruned: `S(w)`.
        quantized: `Q(w)`.
        pruned_first: `Q(S(w))`.
        quantized_first: `S(Q(w))`.
        norm: 1, 2 or infinity.
    """
    dense = weights.astype(np.float64)

    def error(values: np.ndarray | float) -> float:
        return float(np.linalg.norm((dense - values).ravel(), norm))

    return TensorErrors(
        norm=float(norm),
        pruned=error(pruned),
        quantized=error(quantized),
        pruned_first=error(pruned_first),
        quantized_first=error(quantized_first),
        size=error(0.0),
    )
