"""A tensor that is pruned, quantized, and both in each order."""

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from qsparse.methods.criteria import Magnitude


@dataclass(frozen=True, eq=False)
class Compressed:
    """One tensor, by magnitude and by a format.

    Attributes:
        weights: float32 `(taps, inputs, outputs)`.
        pattern: of the mask.
        sparsity: share of zeros in (0, 1).
        format: what is rounded to.
    """

    weights: np.ndarray
    pattern: Any
    sparsity: float
    format: Any

    @cached_property
    def mask(self) -> np.ndarray:
        """What stays of the weights: bool, True where kept."""
        return self._mask_of(self.weights)

    @cached_property
    def late_mask(self) -> np.ndarray:
        """What stays of the quantized weights."""
        return self._mask_of(self.quantized)

    @cached_property
    def pruned(self) -> np.ndarray:
        """`S(w)`."""
        return self.weights * self.mask

    @cached_property
    def quantized(self) -> np.ndarray:
        """`Q(w)`."""
        return self._rounded(self.weights)

    @cached_property
    def pruned_first(self) -> np.ndarray:
        """`Q(S(w))`."""
        return self._rounded(self.pruned)

    @cached_property
    def quantized_first(self) -> np.ndarray:
        """`S(Q(w))`."""
        return self.quantized * self.late_mask

    def _mask_of(self, weights: np.ndarray) -> np.ndarray:
        mask: np.ndarray = self.pattern.mask(Magnitude().score(weights), self.sparsity)
        return mask

    def _rounded(self, weights: np.ndarray) -> np.ndarray:
        rounded: np.ndarray = self.format.decode(*self.format.encode(weights))
        return rounded
