"""Uniform: the same sparsity for every layer."""

from collections.abc import Sequence
from dataclasses import dataclass

from qsparse.methods.allocations.base import ALLOCATIONS, Kernel


@ALLOCATIONS.register("uniform")
@dataclass(frozen=True)
class Uniform:
    """The same sparsity for every layer whose own is not fixed."""

    def allocate(self, kernels: Sequence[Kernel], sparsity: float) -> list[float]:
        """Returns `sparsity` for each, or what is fixed."""
        return [sparsity if k.fixed is None else k.fixed for k in kernels]
