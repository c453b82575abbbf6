"""The orthogonality threshold: what both would cost if they did not interact."""

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

# Student's t for a two-sided interval of 95%, by degrees of freedom.
_T95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)

_NOTHING = 16 * float(np.finfo(float).eps)


@dataclass(frozen=True)
class Threshold:
    """A metric of a model that is sparse and quantized, beside its threshold.

    Attributes:
        value: the threshold, `sparse + quantized - dense`; mean over seeds.
        both: the metric of the model that is both; mean over seeds.
        exceeds: by how much that is worse than the threshold, in units of the metric;
            negative if it is better; mean over seeds.
        half_interval: half the interval of 95% of `exceeds`, by Student's t; infinite
            for one seed.
    """

    value: float
    both: float
    exceeds: float
    half_interval: float

    @property
    def verdict(self) -> str:
        """What it comes to: "orthogonal", "not orthogonal" or "not told apart"."""
        if self.exceeds - self.half_interval > 0:
            return "not orthogonal"
        if self.exceeds + self.half_interval <= 0:
            return "orthogonal"
        return "not told apart"

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description; an infinite interval is None."""
        finite = math.isfinite(self.half_interval)
        found = asdict(self) | {"verdict": self.verdict}
        return found | {"half_interval": self.half_interval if finite else None}


def threshold(
    dense: Any, sparse: Any, quantized: Any, both: Any, *, more_is_better: bool
) -> Threshold:
    """Compares a metric with what it would be without interaction.

    The threshold of the paper (equation 12; by secondary sources): each transformation
    costs what it costs alone, `dense + (sparse - dense) + (quantized - dense)`.

    Args:
        dense: the metric of the dense float model: a number, or one for each seed, the
            same seeds for all four.
        sparse: that of the sparse float model.
        quantized: that of the dense quantized model.
        both: that of the model that is both.
        more_is_better: True for an accuracy, False for a loss or a perplexity.

    Raises:
        ValueError: if they are not as many, or not finite.
    """
    named = {"dense": dense, "sparse": sparse, "quantized": quantized, "both": both}
    found = {name: np.atleast_1d(np.asarray(v, float)) for name, v in named.items()}
    shapes = {values.shape for values in found.values()}
    if len(shapes) > 1 or found["both"].ndim != 1 or not found["both"].size:
        counts = ", ".join(f"{name}={v.size}" for name, v in found.items())
        raise ValueError(f"Each needs one number for each seed. Received: {counts}")
    if not all(np.isfinite(values).all() for values in found.values()):
        raise ValueError("The metric must be finite; some are NaN or infinite.")
    limits = found["sparse"] + found["quantized"] - found["dense"]
    worse = limits - found["both"] if more_is_better else found["both"] - limits
    # What differs in the last bits of the numbers that were added is nothing.
    most = max(float(np.abs(values).max()) for values in found.values())
    worse = np.where(np.abs(worse) <= _NOTHING * most, 0.0, worse)
    return Threshold(
        value=float(limits.mean()),
        both=float(found["both"].mean()),
        exceeds=float(worse.mean()),
        half_interval=half_interval(worse),
    )


def half_interval(values: Sequence[float] | np.ndarray) -> float:
    """Returns half the interval of 95% of a mean, by Student's t.

    Args:
        values: independent measurements; infinite for less than two of them.
    """
    if len(values) < 2:
        return math.inf
    freedom = min(len(values) - 1, len(_T95))
    deviation = float(np.std(values, ddof=1))
    return _T95[freedom - 1] * deviation / math.sqrt(len(values))
