"""What an allocation is, and what it knows of each layer."""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np

from qsparse.methods.registry import Registry


class Kernel(NamedTuple):
    """What an allocation knows of a layer that is pruned.

    Attributes:
        path: where the layer lies in the model.
        shape: its kernel's canonical shape, `(taps, inputs, outputs)`.
        dims: its kernel's own shape in Keras, like `(3, 3, 16, 32)`.
        unit: how many weights its pattern prunes together.
        most: the largest sparsity that its pattern reaches on it, in [0, 1).
        fixed: the sparsity that it has whatever is allocated, as under an N:M
            pattern; None where it is free.
        scores: returns what its pattern's units score now, float `(units, columns)`;
            the best unit of each column stays. None while there are no scores, as
            before training; only dynamic allocations get any.
    """

    path: str
    shape: tuple[int, int, int]
    dims: tuple[int, ...]
    unit: int = 1
    most: float = 1.0
    fixed: float | None = None
    scores: Callable[[], np.ndarray] | None = None

    @property
    def weights(self) -> int:
        """How many weights it has."""
        return math.prod(self.shape)


class Allocation(Protocol):
    """What a plan asks of an allocation.

    Two class attributes are optional, both False where they are missing.
    `dynamic: ClassVar[bool]` says that it needs the scores of weights: then it shares
    out anew whenever masks are selected, not once when a recipe is attached.
    `holds_total: ClassVar[bool]` says that the recipe's sparsity is that of all pruned
    layers together; attaching then checks that it is reached.
    """

    def allocate(self, kernels: Sequence[Kernel], sparsity: float) -> list[float]:
        """Returns the sparsity of each kernel, in [0, 1).

        Args:
            kernels: all that are pruned, in the model's order.
            sparsity: the recipe's, in [0, 1); of a dynamic allocation what the
                schedule has come to.
        """


ALLOCATIONS = Registry("allocation", ("allocate",))


def is_dynamic(allocation: Any) -> bool:
    """Returns whether an allocation shares out anew at each selection of masks."""
    return bool(getattr(allocation, "dynamic", False))


def holds_total(allocation: Any) -> bool:
    """Returns whether a recipe's sparsity is that of all pruned layers together."""
    return bool(getattr(allocation, "holds_total", False))
