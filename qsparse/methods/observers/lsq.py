"""LSQ: ranges that training learns by the gradient of the loss."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from keras import ops

from qsparse.methods.observers.base import OBSERVERS
from qsparse.methods.observers.moving_average import MovingAverage

# Steps of an int8 range, the `Qp` of the paper.
_STEPS = 255.0


@OBSERVERS.register("lsq")
@dataclass(frozen=True)
class LSQ(MovingAverage):
    """Ranges that begin with what the first step brings and learn by gradients.

    Esser et al., "Learned step size quantization", 2020, but with two ends, as ranges
    of LiteRT have them and LSQ+ has (Bhalgat et al., 2020); the formulas are from
    secondary sources. Within the range `low <= x <= high`, with `r` for `x` rounded,
    above and below it:

        dr/dhigh   = (r - x) / (high - low),  1,  0
        dr/d(-low) = (r - x) / (high - low),  0, -1

    which for `low = 0` is the paper's, whose step is `(high - low) / 255`. It is
    scaled by `1 / sqrt(255 * features)`, with the features of one sample.

    What is trained is how much an end is larger than it was at the start, a share: 0 at
    first, from -1 to 1. A step of SGD moves an end as it would in the paper. To Adam,
    whose steps are about as long as the learning rate, it is a share of the range,
    whatever its size. Weight decay pulls ends back to their start. An end that is 0 at
    the start, as below a ReLU, stays 0; a tensor that is dead has no gradient. What
    leaves a model is not trained but averaged, as it must not be clipped.

    The optimizer of `compile` trains them. One that is built already takes them on
    beside what it has.

    Args:
        momentum: of the moving average, in [0, 1), for what leaves the model and where
            ranges are found without training (`qsparse.one_shot`).

    Raises:
        ValueError: if `momentum` is outside.
    """

    trained: ClassVar[bool] = True

    def reached(self, start: Any, grown: Any, floor: float) -> Any:
        """Returns the sizes `(-low, high)` that ranges have grown to.

        Args:
            start: float32 `(..., 2)`: the sizes they began with, not negative.
            grown: what is trained, of the same shape: by which share each end is
                larger.
            floor: width that a range keeps at least, if it began with that.
        """
        width = ops.sum(start, axis=-1, keepdims=True)
        return start * ops.maximum(1.0 + grown, floor / ops.maximum(width, floor))

    def learning(
        self, rounded: Any, inputs: Any, start: Any, sizes: Any, grown: Any
    ) -> Any:
        """Returns `rounded` exactly, with a gradient for `grown`.

        Args:
            rounded: `inputs`, rounded; what the range clips has no gradient there.
            inputs: float tensor `(samples, ...)`.
            start: float32 `(2,)`: the sizes that the range began with.
            sizes: float32 `(2,)`: those that it was rounded with.
            grown: float32 `(2,)`, as of `reached`.
        """

        @ops.custom_gradient
        def forward(rounded: Any, grown: Any, inputs: Any, ends: Any) -> Any:
            def backward(*args: Any, upstream: Any = None) -> Any:
                (upstream,) = args if upstream is None else (upstream,)
                slope = _of_ends(upstream, rounded, inputs, ends[1])
                found = _of_shares(slope, ends[0], inputs)
                return upstream, found, ops.zeros_like(inputs), ops.zeros_like(ends)

            return rounded, backward

        ends = ops.stop_gradient(ops.stack([start, sizes]))
        return forward(rounded, grown, ops.stop_gradient(inputs), ends)


def _of_ends(upstream: Any, rounded: Any, inputs: Any, sizes: Any) -> Any:
    """Returns the gradient of the sizes `(-low, high)`, before it is scaled."""
    upstream, rounded, inputs = (
        ops.cast(each, "float32") for each in (upstream, rounded, inputs)
    )
    below, above = inputs < -sizes[0], inputs > sizes[1]
    within = ops.logical_not(ops.logical_or(below, above))

    def total(values: Any, where: Any) -> Any:
        return ops.sum(ops.where(where, values, ops.zeros_like(values)))

    both = total(upstream * (rounded - inputs), within) / ops.sum(sizes)
    return ops.stack([both - total(upstream, below), both + total(upstream, above)])


def _of_shares(slope: Any, start: Any, inputs: Any) -> Any:
    """Returns the scaled gradient of what is trained.

    An end is `start * (1 + grown)`, and `_STEPS` times the paper's step: so SGD with
    this gradient moves it as far as with the paper's.
    """
    samples = ops.cast(ops.shape(inputs)[0], "float32")
    features = ops.cast(ops.size(inputs), "float32") / ops.maximum(samples, 1.0)
    scale = np.float32(_STEPS**1.5) / ops.sqrt(ops.maximum(features, 1.0))
    there = start > 0.0
    divisor = ops.where(there, start, ops.ones_like(start))
    return ops.where(there, slope * scale / divisor, ops.zeros_like(slope))
