"""What a measurement of sensitivity found: a table, a plot, an allocation."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from qsparse.measures.lines import draw_lines
from qsparse.methods.allocations import Sensitivity
from qsparse.methods.validate import real


@dataclass(frozen=True)
class Measurement:
    """What one change of one layer did.

    Attributes:
        path: where the layer lies in the model.
        change: what was done: "50.0%" zeros asked for, or a format like "int8".
        asked: the sparsity that was asked for; 0 of a format.
        sparsity: the share of zeros that its mask had; 0 of a format.
        format: the name of the format; None where the layer was pruned.
        value: the metric with the change.
        drop: by how much that is worse than without; negative if it is better.
    """

    path: str
    change: str
    asked: float
    sparsity: float
    format: str | None
    value: float
    drop: float


@dataclass(frozen=True)
class SensitivityReport:
    """What every layer of a model bears, alone.

    Attributes:
        metric: what was measured: "loss", another compiled metric, the name of a
            function, or "noise", the power of what changed in the outputs over that of
            the outputs (`-10 * log10` of it is the SQNR in dB).
        baseline: its value for the model as it is; 0 for "noise".
        samples: how many samples it was measured on.
        rows: one for each layer and change, in the model's order.
    """

    metric: str
    baseline: float
    samples: int
    rows: tuple[Measurement, ...]

    @property
    def allocation(self) -> Sensitivity:
        """The `Sensitivity` that shares a recipe's sparsity out by these numbers.

        Raises:
            ValueError: if no layer was pruned.
        """
        curves: dict[str, dict[float, float]] = {}
        for row in self.rows:
            if row.sparsity > 0:
                curves.setdefault(row.path, {})[row.sparsity] = row.drop
        if not curves:
            raise ValueError(
                "No layer was pruned, so there is nothing to share out by. Measure "
                "with a recipe that has a pattern, and with sparsities."
            )
        return Sensitivity(tuple((p, tuple(c.items())) for p, c in curves.items()))

    def exclusions(
        self, max_drop: float, sparsity: float | None = None
    ) -> tuple[str, ...]:
        """Returns layers to leave alone, for `Recipe(exclude=...)`.

        Args:
            max_drop: how much a layer alone may cost.
            sparsity: the largest of the measured sparsities that counts. None: the
                least one of each layer; an allocation can spare it the others. What
                formats cost counts always.

        Returns:
            The paths of layers of which any row that counts drops by more.
        """
        limit = real("max_drop", max_drop)
        least: dict[str, float] = {}
        for row in self.rows:
            if row.format is None:
                least[row.path] = min(least.get(row.path, 1.0), row.asked)
        found = [
            row.path
            for row in self.rows
            if row.drop > limit
            and row.asked
            <= (least.get(row.path, 0.0) if sparsity is None else sparsity)
        ]
        return tuple(dict.fromkeys(found))

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description."""
        rows = [asdict(row) for row in self.rows]
        return {
            "metric": self.metric,
            "baseline": self.baseline,
            "samples": self.samples,
            "rows": rows,
        }

    def _columns(self) -> tuple[list[str], list[str], dict[tuple[str, str], float]]:
        """Returns layers, changes from mild to hard, and their drops."""
        layers = list(dict.fromkeys(row.path for row in self.rows))
        ordered = sorted(self.rows, key=lambda row: (row.format is not None, row.asked))
        changes = list(dict.fromkeys(row.change for row in ordered))
        return layers, changes, {(r.path, r.change): r.drop for r in self.rows}

    def __str__(self) -> str:
        layers, changes, drops = self._columns()
        width = max(map(len, layers), default=5)
        title = (
            f"{self.metric} {self.baseline:.4g} on {self.samples} samples; by how much "
            "it is worse with one layer"
        )
        wide = max([11, *(len(change) + 2 for change in changes)])
        lines = [title, f"{'layer':{width}}" + "".join(f"{c:>{wide}}" for c in changes)]
        for path in layers:
            cells = [drops.get((path, change)) for change in changes]
            shown = ["-" if cell is None else f"{cell:.4g}" for cell in cells]
            lines.append(f"{path:{width}}" + "".join(f"{c:>{wide}}" for c in shown))
        return "\n".join(lines)

    def plot(self, path: str | Path) -> None:
        """Draws the table as a PNG: a line for each change, over the layers.

        Args:
            path: where to write.

        Raises:
            ValueError: matplotlib is not installed.
        """
        layers, changes, drops = self._columns()
        lines = {c: [drops.get((x, c), np.nan) for x in layers] for c in changes}
        what, title = f"{self.metric}: worse by", "one layer at a time"
        draw_lines(path, layers, lines, what=what, title=title)
