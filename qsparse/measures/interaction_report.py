"""What an analysis of interaction found: thresholds, tables, a plot."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qsparse.analysis.threshold import Threshold
from qsparse.measures.arms import DENSE, PRUNED_FIRST, QUANTIZED_FIRST
from qsparse.measures.layer_errors import LayerInteraction
from qsparse.measures.lines import draw_lines
from qsparse.measures.measured import Measured, described
from qsparse.planning.recipe import ORDERS


@dataclass(frozen=True)
class InteractionReport(Measured):
    """How sparsity and quantization interact in one model.

    Beside what `Measured` has; arms are "dense", "pruned", "quantized", "S->Q", "Q->S".

    Attributes:
        layers: one for each kernel that the recipe changes, in the model's order.
    """

    layers: tuple[LayerInteraction, ...]

    @property
    def orders(self) -> tuple[str, ...]:
        """The orders that were looked at."""
        return tuple(order for order in ORDERS if order in self.values)

    def threshold(self, order: str | None = None) -> Threshold:
        """Returns what both would be without interaction, and where they landed.

        Its interval says how well these samples tell the two apart, batch by batch.

        Args:
            order: "S->Q" or "Q->S"; None: that of the recipe.

        Raises:
            KeyError: if that order was not looked at.
        """
        return self._threshold(order or self.order)

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
        lines = self._title()
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


def _share(value: float | None) -> str:
    return "-" if value is None or np.isnan(value) else f"{value:.3f}"
