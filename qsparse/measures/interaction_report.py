"""What an analysis of interaction found: thresholds, tables, a plot."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from qsparse.analysis.threshold import Threshold, threshold
from qsparse.measures.arms import (
    DENSE,
    PRUNED,
    PRUNED_FIRST,
    QUANTIZED,
    QUANTIZED_FIRST,
)
from qsparse.measures.layer_errors import LayerInteraction
from qsparse.measures.lines import draw_lines
from qsparse.planning.recipe import ORDERS


@dataclass(frozen=True)
class InteractionReport:
    """How sparsity and quantization interact in one model.

    Attributes:
        metric: what was measured; see `qsparse.SensitivityReport`.
        less_is_better: whether less of it is better.
        samples: how many samples it was measured on.
        order: that of the recipe.
        values: by arm ("dense", "pruned", "quantized", "S->Q", "Q->S"), the metric of
            each batch.
        weights: what each batch weighs in the mean.
        layers: one for each kernel that the recipe changes, in the model's order.
    """

    metric: str
    less_is_better: bool
    samples: int
    order: str
    values: Mapping[str, tuple[float, ...]]
    weights: tuple[float, ...]
    layers: tuple[LayerInteraction, ...]

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders that were looked at."""
        return tuple(order for order in ORDERS if order in self.values)

    def value(self, arm: str) -> float:
        """Returns the metric of an arm.

        Raises:
            KeyError: if there is no such arm.
        """
        return float(np.average(self.values[arm], weights=self.weights))

    def threshold(self, order: str | None = None) -> Threshold:
        """Returns what both would be without interaction, and where they landed.

        Its interval says how well these samples tell the two apart, batch by batch.

        Args:
            order: "S->Q" or "Q->S"; None: that of the recipe.

        Raises:
            KeyError: if that order was not looked at.
        """
        arms = (DENSE, PRUNED, QUANTIZED, order or self.order)
        return threshold_of(self, arms)

    def exceeding(self, order: str | None = None) -> tuple[str, ...]:
        """Returns the paths of layers that lose more by both than by each alone.

        Args:
            order: as of `threshold`.
        """
        wanted = order or self.order
        return tuple(row.path for row in self.layers if row.exceeds(wanted))

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description."""
        found = {order: self.threshold(order) for order in self.orders}
        return {
            "metric": self.metric,
            "less_is_better": self.less_is_better,
            "samples": self.samples,
            "order": self.order,
            "values": {arm: self.value(arm) for arm in self.values},
            "thresholds": {
                order: each.to_dict() | {"layers": list(self.exceeding(order))}
                for order, each in found.items()
            },
            "layers": [row.to_dict() for row in self.layers],
        }

    def __str__(self) -> str:
        lines = [f"{self.metric} on {self.samples} samples"]
        lines += [f"  {arm:9} {self.value(arm):.4g}" for arm in self.values]
        for order in self.orders:
            found = self.threshold(order)
            count, total = len(self.exceeding(order)), len(self.layers)
            lines.append(
                f"{order}: {described(found)}; {count} of {total} layers lose more by "
                "both than by each alone"
            )
        return "\n".join([*lines, "", *self._table()])

    def _table(self) -> list[str]:
        """Returns the lines of the layers' table: errors as shares of what they are of.

        Shown are, of the weights and then of the outputs, pruned, quantized and both;
        and the error of what flows in.
        """
        width = max([5, *(len(row.path) for row in self.layers)])
        columns = ["S", "Q", *self.orders]
        groups = f"{'':{width}} {'':14}{'weights':<{8 * len(columns)}}"
        groups += f"{'outputs':<{8 * len(columns)}}flows in"
        names = "".join(f"{name:<8}" for name in columns)
        head = f"{'layer':{width}} zeros swapped {names}{names}"
        head += "".join(f"{order:<8}" for order in self.orders)
        lines = [groups.rstrip(), head.rstrip()]
        for row in self.layers:
            cells = [*self._of_weights(row), *self._of_outputs(row)]
            cells += [row.arriving.get(order) for order in self.orders]
            swapped = "-" if row.swapped is None else f"{row.swapped:.1%}"
            shown = "".join(f"{_share(cell):<8}" for cell in cells)
            line = f"{row.path:{width}} {row.sparsity:5.0%} {swapped:>7} {shown}"
            lines.append(line.rstrip())
        return lines

    def _of_weights(self, row: LayerInteraction) -> list[float | None]:
        tensor = row.tensor
        both = {
            PRUNED_FIRST: tensor.pruned_first,
            QUANTIZED_FIRST: tensor.quantized_first,
        }
        found = [tensor.pruned, tensor.quantized, *(both[o] for o in self.orders)]
        return [each / tensor.size if tensor.size else None for each in found]

    def _of_outputs(self, row: LayerInteraction) -> list[float | None]:
        if row.product is None:
            return [None] * (2 + len(self.orders))
        both = [row.product.both[order] for order in self.orders]
        return [row.product.pruned, row.product.quantized, *both]

    def plot(self, path: str | Path) -> None:
        """Draws how the error of what flows into layers grows, as a PNG.

        Args:
            path: where to write.

        Raises:
            ValueError: matplotlib is not installed.
        """
        lines = {
            arm: [row.arriving.get(arm, np.nan) for row in self.layers]
            for arm in self.values
            if arm != DENSE
        }
        names = [row.path for row in self.layers]
        what = "error of what flows in, relative"
        draw_lines(path, names, lines, what=what, title="layer by layer")


def threshold_of(report: Any, arms: tuple[str, str, str, str]) -> Threshold:
    """Returns the threshold of what a report measured, batch by batch.

    Args:
        report: has `values`, `value` and `less_is_better`.
        arms: what is dense, pruned, quantized and both in it.
    """
    more = not report.less_is_better
    by_batch = threshold(*(report.values[a] for a in arms), more_is_better=more)
    whole = threshold(*(report.value(a) for a in arms), more_is_better=more)
    return replace(whole, half_interval=by_batch.half_interval)


def described(found: Threshold) -> str:
    """Returns a threshold, and how far from it a model landed, in words."""
    side = "worse" if found.exceeds > 0 else "better"
    far = f"{abs(found.exceeds):.2g} {side}" if found.exceeds else "so it is"
    return f"without interaction it would be {found.value:.4g}; {far} ({found.verdict})"


def _share(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"
