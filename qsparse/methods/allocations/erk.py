"""ERK: large kernels are pruned more than small ones."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from qsparse.methods.allocations.base import ALLOCATIONS, Kernel
from qsparse.methods.allocations.total import level, shared_out


@ALLOCATIONS.register("erk")
@dataclass(frozen=True)
class ERK:
    """Erdős-Rényi-Kernel: a layer's density goes with `sum(dims) / prod(dims)`.

    Evci et al., "Rigging the lottery" (2020): the density of a layer is
    `min(1, epsilon * sum(dims) / prod(dims))`, where `dims` are those of its kernel as
    Keras holds it, and `epsilon` is the one with which the total holds. Layers whose
    pattern does not get that thin keep what it has to.

    Args:
        kernel: False leaves the window of convolutions out, `(inputs + outputs) /
            (inputs * outputs)`: Erdős-Rényi (Mocanu et al., 2018).
    """

    kernel: bool = True

    holds_total: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if not isinstance(self.kernel, bool):
            raise ValueError(
                f"ERK needs `kernel`, True or False. Received: kernel={self.kernel!r}"
            )

    def allocate(self, kernels: Sequence[Kernel], sparsity: float) -> list[float]:
        """Returns sparsities that make `sparsity` in total; see `Allocation`."""

        def share(free: list[Kernel], zeros: float) -> list[float]:
            kept = sum(kernel.weights for kernel in free) - zeros
            least = [1.0 - kernel.most for kernel in free]
            slopes = [self._slope(kernel) for kernel in free]
            densities = level(slopes, least, [1.0] * len(free), free, kept)
            return [1.0 - density for density in densities]

        return shared_out(kernels, sparsity, share)

    def _slope(self, kernel: Kernel) -> float:
        if self.kernel:
            return sum(kernel.dims) / kernel.weights
        _, inputs, outputs = kernel.shape
        return (inputs + outputs) / (inputs * outputs)
