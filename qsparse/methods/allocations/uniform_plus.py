"""Uniform+: the first layer dense, the last one not too thin, the others alike."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qsparse.methods.allocations.base import ALLOCATIONS, Kernel
from qsparse.methods.allocations.total import level, shared_out
from qsparse.methods.validate import real


@ALLOCATIONS.register("uniform+")
@dataclass(frozen=True)
class UniformPlus:
    """The first pruned layer stays dense, the last keeps some, the others are alike.

    Gale et al., "The state of sparsity in deep neural networks" (2019). The others
    take over what the two spare: the recipe's sparsity is the total over all layers.

    Args:
        last: the least density of the last pruned layer, in [0, 1]; 0.2 in the paper.

    Raises:
        ValueError: if `last` is outside [0, 1].
    """

    last: float = 0.2

    holds_total: ClassVar[bool] = True

    def __post_init__(self) -> None:
        object.__setattr__(self, "last", real("last", self.last))
        if not 0.0 <= self.last <= 1.0:
            raise ValueError(
                "UniformPlus needs `last`, the least density of the last layer, in "
                f"[0, 1]. Received: last={self.last}"
            )

    def allocate(self, kernels: Sequence[Kernel], sparsity: float) -> list[float]:
        """Returns sparsities that make `sparsity` in total; see `Allocation`."""

        def share(free: list[Kernel], zeros: float) -> list[float]:
            most = [self._most(kernel, kernels) for kernel in free]
            return level([1.0] * len(free), [0.0] * len(free), most, free, zeros)

        return shared_out(kernels, sparsity, share)

    def _most(self, kernel: Kernel, kernels: Sequence[Kernel]) -> float:
        if kernel is kernels[0]:
            return 0.0
        return min(kernel.most, 1.0 - self.last if kernel is kernels[-1] else 1.0)
