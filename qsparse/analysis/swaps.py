"""Swaps: weights that quantization lets change places before they are pruned."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from qsparse.analysis.arguments import compressed
from qsparse.methods.patterns import NM


@dataclass(frozen=True)
class Swaps:
    """How masks differ that are selected before and after quantization.

    Attributes:
        count: weights that only the mask of the dense tensor keeps.
        weights: how many there are.
        extra: by how much quantizing first exceeds the sum of both errors, in L1;
            negative if it does not.
        bound: what theorem 3.7 allows for `extra`.
    """

    count: int
    weights: int
    extra: float
    bound: float

    @property
    def share(self) -> float:
        """Weights that change places, as a share of all."""
        return 2.0 * self.count / self.weights


def swaps(weights: Any, pattern: Any, format: Any) -> Swaps:
    """Counts swaps in groups of an N:M pattern, and bounds what they cost.

    With nearest rounding and steps `d` of the grid, a weight that is kept and one that
    is pruned change places only where their sizes differ by `d` at most, or where the
    grid clips the greater one, whose error then counts by itself. At most
    `min(n, m - n)` pairs of a group do. So, in L1 (theorem 3.7, reconstructed):

        |w - S(Q(w))| <= |w - Q(w)| + |w - S(w)| + sum over groups of min(n, m-n) d

    Args:
        weights: float `(inputs, outputs)` or `(taps, inputs, outputs)`, finite; their
            inputs are whole groups.
        pattern: an N:M pattern.
        format: of equal steps, as "int4", "hbfp6" or `qsparse.BlockInt`, as wide for
            all weights of a group.

    Raises:
        ValueError: if one of them is none of these.
    """
    tensor = compressed(weights, pattern, format, None)
    if not isinstance(tensor.pattern, NM) or tensor.weights.shape[1] % tensor.pattern.m:
        raise ValueError(
            "Swaps are counted in whole groups of an N:M pattern. Received: pattern="
            f"{tensor.pattern} for {tensor.weights.shape[1]} inputs"
        )
    if not getattr(tensor.format, "equal_steps", True):
        raise ValueError(
            f"Steps of {tensor.format} are not equal, so there is no bound in steps. "
            "Choose a format of integers, as 'int4' or 'hbfp6'."
        )
    _, scale = tensor.format.encode(tensor.weights)
    steps = np.broadcast_to(np.asarray(scale, np.float64), tensor.weights.shape)
    taps, inputs, outputs = steps.shape
    groups = steps.reshape(taps, inputs // tensor.pattern.m, tensor.pattern.m, outputs)
    pairs = min(tensor.pattern.n, tensor.pattern.m - tensor.pattern.n)
    dense = tensor.weights.astype(np.float64)

    def error(values: np.ndarray) -> float:
        return float(np.abs(dense - values).sum())

    together = error(tensor.pruned) + error(tensor.quantized)
    return Swaps(
        count=int((tensor.mask & ~tensor.late_mask).sum()),
        weights=dense.size,
        extra=error(tensor.quantized_first) - together,
        bound=float(pairs * groups.max(axis=2).sum()),
    )
