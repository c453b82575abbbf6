"""What an allocation is, and what it knows of each layer."""

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from qsparse.methods.registry import Registry


class Kernel(NamedTuple):
    """What an allocation knows of a layer that is pruned.

    Attributes:
        path: where the layer lies in the model.
        shape: its kernel's canonical shape, `(taps, inputs, outputs)`.
    """

    path: str
    shape: tuple[int, int, int]


class Allocation(Protocol):
    """What a plan asks of an allocation."""

    def allocate(self, kernels: Sequence[Kernel], sparsity: float) -> list[float]:
        """Returns the final sparsity of each kernel, in [0, 1).

        Args:
            kernels: all that are pruned, in the model's order.
            sparsity: the recipe's, in [0, 1).
        """


ALLOCATIONS = Registry("allocation", ("allocate",))
