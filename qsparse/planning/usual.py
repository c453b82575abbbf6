"""The estimator of a layer for which nobody named one."""

from typing import Any

from qsparse.methods.criteria import needs_of
from qsparse.methods.estimators import STE, Masked

# What a criterion may ask without looking at gradients.
_NO_GRADIENTS = ("path", "tile", "activations")


def usual_estimator(pattern: Any, criterion: Any, regrowth: Any) -> Any:
    """Returns what was best in docs/baselines.md for such a layer, or is needed.

    `STE` where every group keeps half of its weights or more, as 2:4 does; else
    `Masked`. Criteria and regrowths that look at the gradients of pruned weights, or
    may, get `STE`, which lets them pass.

    Args:
        pattern: the layer's pattern.
        criterion: what scores its weights.
        regrowth: how its masks move at one sparsity, or None.
    """
    looks = any(name not in _NO_GRADIENTS for name in needs_of(criterion))
    grows = regrowth is not None and regrowth.needs_gradients
    keeps_half = 2 * getattr(pattern, "n", 0) >= getattr(pattern, "m", 1)
    return STE() if looks or grows or keeps_half else Masked()
