"""Where a model landed that was pruned and quantized in training."""

from dataclasses import asdict, dataclass
from typing import Any

from qsparse.analysis.threshold import Threshold
from qsparse.measures.arms import DENSE, PRUNED
from qsparse.measures.measured import Measured, described


@dataclass(frozen=True)
class RoundedLayer:
    """What rounding costs one layer's outputs, by what flows in without rounding.

    Errors are L2 norms over those of the outputs; None where outputs are no sums over
    all inputs, or nothing is rounded.

    Attributes:
        path: where the layer lies in the model.
        sparsity: the share of zeros in its mask.
        format: the name of what its weights are rounded to.
        sparse: the error in the model.
        dense: that in the baseline; None without one.
        arriving: the error of what flows into the layer, by the rounding before it.
    """

    path: str
    sparsity: float
    format: str
    sparse: float | None
    dense: float | None
    arriving: float | None

    @property
    def exceeds(self) -> bool:
        """Whether rounding costs the layer more here than in the baseline."""
        if self.sparse is None or self.dense is None:
            return False
        return self.sparse > self.dense


@dataclass(frozen=True)
class Landing(Measured):
    """What a recipe came to that prunes and quantizes.

    Beside what `Measured` has. Arms are "pruned", the model without rounding, and the
    order, the model as it is; with a baseline "dense" and "quantized", which are its.

    Attributes:
        layers: one for each kernel that the recipe changes, in the model's order.
    """

    layers: tuple[RoundedLayer, ...]

    @property
    def cost(self) -> float:
        """By how much rounding makes the model worse; negative if it is better."""
        worse = self.value(self.order) - self.value(PRUNED)
        return worse if self.less_is_better else -worse

    @property
    def threshold(self) -> Threshold | None:
        """What the model would be if rounding cost it what it costs the baseline.

        None without a baseline. The interval says how well these samples tell the two
        apart, batch by batch.
        """
        if DENSE not in self.values:
            return None
        return self._threshold(self.order)

    @property
    def exceeding(self) -> tuple[str, ...]:
        """The paths of layers that rounding costs more here than in the baseline."""
        return tuple(row.path for row in self.layers if row.exceeds)

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description."""
        found = self.threshold
        return {
            "metric": self.metric,
            "less_is_better": self.less_is_better,
            "samples": self.samples,
            "order": self.order,
            "values": {arm: self.value(arm) for arm in self.values},
            "cost": self.cost,
            "threshold": None if found is None else found.to_dict(),
            "exceeding": list(self.exceeding),
            "layers": [asdict(row) for row in self.layers],
        }

    def __str__(self) -> str:
        lines = self._title()
        found = self.threshold
        if found is None:
            lines.append("No threshold: that takes a dense model, as baseline=.")
        else:
            count = len(self.exceeding)
            lines.append(
                f"{self.order}: {described(found)}; rounding costs {count} of "
                f"{len(self.layers)} layers more than in the baseline"
            )
        width = max([5, *(len(row.path) for row in self.layers)])
        lines += ["", f"{'':{width}}       rounding costs outputs"]
        lines.append(f"{'layer':{width}} zeros here    baseline flows in")
        for row in self.layers:
            cells = ("-" if c is None else f"{c:.3f}" for c in _cells(row))
            shown = "{:<8}{:<9}{}".format(*cells)
            lines.append(f"{row.path:{width}} {row.sparsity:5.0%} {shown}")
        return "\n".join(lines)


def _cells(row: RoundedLayer) -> tuple[float | None, ...]:
    return row.sparse, row.dense, row.arriving
