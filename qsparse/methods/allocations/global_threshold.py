"""Global: one threshold on the scores of all layers."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qsparse.methods.allocations.base import ALLOCATIONS, Kernel
from qsparse.methods.allocations.threshold import by_one_threshold


@ALLOCATIONS.register("global")
@dataclass(frozen=True)
class Global:
    """One threshold on the criterion's scores over all layers.

    The lowest scores go first, whatever layer they are in (Han et al., 2015, and
    others). Tiles count by their mean score, so that patterns may differ. Layers share
    the sparsity out anew at each selection of masks.
    """

    dynamic: ClassVar[bool] = True
    holds_total: ClassVar[bool] = True

    def allocate(self, kernels: Sequence[Kernel], sparsity: float) -> list[float]:
        """Returns sparsities that make `sparsity` in total; see `Allocation`."""
        return by_one_threshold(kernels, sparsity, lambda scores: scores)
