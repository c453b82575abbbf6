"""What was measured of a model in several arms, batch by batch."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from qsparse.analysis.threshold import Threshold, threshold
from qsparse.measures.arms import DENSE, PRUNED, QUANTIZED


@dataclass(frozen=True)
class Measured:
    """A metric of a model in several arms.

    Attributes:
        metric: what was measured; see `qsparse.SensitivityReport`.
        less_is_better: whether less of it is better.
        samples: how many samples it was measured on.
        order: that of the recipe.
        values: by arm, the metric of each batch.
        weights: what each batch weighs in the mean.
    """

    metric: str
    less_is_better: bool
    samples: int
    order: str
    values: Mapping[str, tuple[float, ...]]
    weights: tuple[float, ...]

    def value(self, arm: str) -> float:
        """Returns the metric of an arm.

        Raises:
            KeyError: if there is no such arm.
        """
        return float(np.average(self.values[arm], weights=self.weights))

    def _threshold(self, order: str) -> Threshold:
        """Returns the threshold of an order; its interval is that over batches."""
        arms, more = (DENSE, PRUNED, QUANTIZED, order), not self.less_is_better
        by_batch = threshold(*(self.values[a] for a in arms), more_is_better=more)
        whole = threshold(*(self.value(a) for a in arms), more_is_better=more)
        return replace(whole, half_interval=by_batch.half_interval)

    def _title(self) -> list[str]:
        """Returns the lines that a report begins with."""
        lines = [f"{self.metric} on {self.samples} samples"]
        return lines + [f"  {arm:9} {self.value(arm):.4g}" for arm in self.values]


def described(found: Threshold) -> str:
    """Returns a threshold, and how far from it a model landed, in words."""
    side = "worse" if found.exceeds > 0 else "better"
    far = f"{abs(found.exceeds):.2g} {side}" if found.exceeds else "so it is"
    return f"without interaction it would be {found.value:.4g}; {far} ({found.verdict})"
