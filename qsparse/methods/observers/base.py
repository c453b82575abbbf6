"""What an observer is."""

import math
from typing import Any, Protocol

import numpy as np
from keras import ops

from qsparse.methods.registry import Registry

# Values that a range is estimated from where all of a tensor would cost too much.
_SAMPLE = 8192


class Observer(Protocol):
    """What an input quantizer asks of an observer.

    `sizes` is optional: without it a step brings the least and the greatest value.
    One whose ranges learn by gradients says so with `trained = True`, and has `reached`
    and `learning` as `LSQ` does. All are traced; they use `keras.ops` only.
    """

    def moved(self, before: Any, seen: Any) -> Any:
        """Returns the sizes of the ranges after a step.

        Args:
            before: float32 `(inputs, 2)`: the sizes that the step began with.
            seen: what the step has seen, of the same shape.
        """


OBSERVERS = Registry("observer", ("moved",))


def sizes_by(observer: Any, values: Any) -> Any:
    """Returns the sizes `(-low, high)` that an observer sees in a tensor, not negative.

    Args:
        observer: any registered one.
        values: float32, of any shape.
    """
    own = getattr(observer, "sizes", None)
    found = least_and_greatest(values) if own is None else own(values)
    return ops.maximum(found, 0.0)


def least_and_greatest(values: Any) -> Any:
    """Returns `(-min, max)`."""
    ends = ops.stack([ops.min(values), ops.max(values)])
    return ends * np.array([-1.0, 1.0], np.float32)


def sampled(values: Any) -> Any:
    """Returns a vector of some 8,000 values of a tensor, evenly apart, or of all."""
    flat = ops.reshape(values, (-1,))
    size = math.prod(ops.shape(values))
    return flat[:: size // _SAMPLE + 1]
