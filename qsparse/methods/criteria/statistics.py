"""Statistics: what a criterion may see beside the weights, and where it comes from.

| name | what it is | comes from |
|---|---|---|
| `gradients` | sum of g since the last selection | steps of training, or data |
| `squares` | sum of g^2 since the last selection | steps of training, or data |
| `movement` | sum of -w * g since training began | steps of training |
| `moments` | mean of g^2, as Adam keeps it | the optimizer |
| `activations` | norm of what each weight meets | data |
| `batch_gradients` | g of every batch | data |
| `path` | where the layer lies in the model, a str | the layer |
| `tile` | `(outputs, inputs)` that are pruned together | the layer's pattern |

`g` is the gradient of the loss with respect to the dense weights `w`, as an optimizer
gets it: of a whole batch, with regularization, not clipped, unscaled in float16. Arrays
are float32 `(taps, inputs, outputs)`, as the weights are, but for `activations`,
`(taps, inputs, 1)`, and `batch_gradients`, `(batches, taps, inputs, outputs)`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple


class Statistic(NamedTuple):
    """Where a statistic comes from.

    Attributes:
        term: what a step or a batch adds to it, of the weights and their gradient; None
            for what is no sum over gradients.
        from_steps: whether the steps of training bring it.
        from_data: whether a user's data does.
        restarts: whether it begins anew when it was seen.
    """

    term: Callable[[Any, Any], Any] | None = None
    from_steps: bool = False
    from_data: bool = False
    restarts: bool = True


STATISTICS = {
    "gradients": Statistic(lambda weights, gradient: gradient, True, True),
    "squares": Statistic(lambda weights, gradient: gradient * gradient, True, True),
    "movement": Statistic(
        lambda weights, gradient: -weights * gradient, True, restarts=False
    ),
    "moments": Statistic(),
    "activations": Statistic(from_data=True),
    "batch_gradients": Statistic(from_data=True),
    "path": Statistic(),
    "tile": Statistic(),
}
