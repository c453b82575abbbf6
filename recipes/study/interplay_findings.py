"""What the rows of a study of interplay say: thresholds, gaps, claims."""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from qsparse.analysis.ranks import rank_correlation
from qsparse.analysis.threshold import Threshold, half_interval, threshold
from qsparse.planning.recipe import ORDERS
from qsparse.recipes.study.interplay_config import (
    ALONE,
    DENSE,
    FLOAT,
    LOOK,
    NONE,
    TRAINED,
    TUNED,
)
from qsparse.recipes.study.rows import Row

PRUNED_FIRST, QUANTIZED_FIRST = ORDERS
# From this correlation on a forecast may choose for a user.
EARNED = 0.7


class Cell(NamedTuple):
    """A place of the grid.

    Attributes:
        protocol, pattern, format, order: as of a run.
    """

    protocol: str
    pattern: str
    format: str
    order: str


class Agreement(NamedTuple):
    """How well a forecast agrees with what came.

    Attributes:
        correlation: of ranks, over patterns and formats in the order S->Q.
        settings: how many of these.
        told: of how many patterns and formats the better order was foretold.
        pairs: of how many it could be.
    """

    correlation: float
    settings: int
    told: int
    pairs: int


@dataclass(frozen=True)
class Difference:
    """A mean over pairs of runs, and how well it is known.

    Attributes:
        mean: of the differences.
        half: half of its interval of 95%, by Student's t; infinite for one pair.
        count: how many there are.
    """

    mean: float
    half: float
    count: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Difference":
        """Returns what some differences come to."""
        return cls(statistics.mean(values), half_interval(values), len(values))

    @property
    def verdict(self) -> str:
        """Whether it is above 0: "yes", "no, less" or "not told apart"."""
        if self.mean - self.half > 0:
            return "yes"
        return "no, less" if self.mean + self.half < 0 else "not told apart"


class Findings:
    """The rows of one network.

    Args:
        network: which.
        rows: of all networks.
        metric: "loss", "accuracy" or "perplexity", which is `exp(loss)`.
    """

    def __init__(
        self, network: str, rows: Mapping[str, Row], metric: str = "loss"
    ) -> None:
        self.network, self.metric = network, metric
        self._values: dict[Cell, dict[int, float]] = {}
        self.analyses: dict[tuple[str, str], dict[str, Any]] = {}
        for name, row in rows.items():
            of, *cell, seed = name.split("/")
            if of != network or "loss" not in row:
                continue
            if cell[0] == LOOK:
                self.analyses[cell[1], cell[2]] = row["analysis"]
            else:
                found = math.exp(row["loss"]) if metric == "perplexity" else row[metric]
                self._values.setdefault(Cell(*cell), {})[int(seed)] = found

    def seeds(self, cell: Cell) -> dict[int, float]:
        """Returns the metric of a place, by seed; empty where nothing was run."""
        return self._values.get(cell, {})

    @property
    def cells(self) -> list[Cell]:
        """The places where something was pruned and rounded."""
        return [cell for cell in self._values if cell.order != NONE]

    def names(self, key: str) -> list[str]:
        """Returns the patterns, formats, orders or protocols there are, in order."""
        return list(dict.fromkeys(getattr(cell, key) for cell in self.cells))

    def parts(self, cell: Cell) -> list[Cell]:
        """Returns what a place is held against: dense, only pruned, only rounded."""
        dense, pruned, rounded = ALONE[cell.protocol]
        return [
            Cell(dense, DENSE, FLOAT, NONE),
            Cell(pruned, cell.pattern, FLOAT, NONE),
            Cell(rounded, DENSE, cell.format, NONE),
        ]

    def threshold(self, cell: Cell) -> Threshold | None:
        """Returns where a place landed; None until all it is held against was run."""
        runs = self._together(cell)
        if not runs:
            return None
        more = self.metric == "accuracy"
        return threshold(*zip(*runs.values(), strict=True), more_is_better=more)

    def exceeds(self, cell: Cell) -> dict[int, float]:
        """Returns by how much a place is worse than its threshold, by seed."""
        return {
            seed: self._sign * (both - pruned - rounded + dense)
            for seed, (dense, pruned, rounded, both) in self._together(cell).items()
        }

    def _together(self, cell: Cell) -> dict[int, tuple[float, ...]]:
        """Returns dense, pruned, rounded and both, by seed, as far as all were run."""
        runs = [self.seeds(each) for each in (*self.parts(cell), cell)]
        common = sorted(set.intersection(*(set(run) for run in runs)))
        return {seed: tuple(run[seed] for run in runs) for seed in common}

    def gap(self, protocol: str, pattern: str, format: str) -> dict[int, float]:
        """Returns by how much quantizing first is worse, by seed."""
        first, late = (
            self.seeds(Cell(protocol, pattern, format, order)) for order in ORDERS
        )
        common = sorted(first.keys() & late.keys())
        return {seed: self._sign * (late[seed] - first[seed]) for seed in common}

    @property
    def _sign(self) -> float:
        """What makes the metric one of which less is better."""
        return -1.0 if self.metric == "accuracy" else 1.0

    def pooled_gap(self, protocol: str, format: str) -> Difference | None:
        """Returns the gap over all patterns; None where nothing was run.

        Runs of one seed are not independent: each seed counts once, by its mean.
        """
        return self._by_seed(
            [self.gap(protocol, p, format) for p in self.names("pattern")]
        )

    def pooled_excess(
        self, protocol: str, format: str, order: str
    ) -> Difference | None:
        """Returns the excess over all patterns, as `pooled_gap` does the gap."""
        return self._by_seed(
            [
                self.exceeds(Cell(protocol, pattern, format, order))
                for pattern in self.names("pattern")
            ]
        )

    @staticmethod
    def _by_seed(runs: Sequence[Mapping[int, float]]) -> Difference | None:
        found = [run for run in runs if run]
        if not found:
            return None
        common = sorted(set.intersection(*(set(run) for run in found)))
        means = [statistics.mean(run[seed] for run in found) for seed in common]
        return Difference.of(means) if means else None

    def confounded(self, format: str) -> Difference | None:
        """Returns by how much the paper's arm of Q->S is worse than that of S->Q.

        One was trained with rounding and the other was not, so that they differ by more
        than the order.
        """
        runs = []
        for pattern in self.names("pattern"):
            late = self.seeds(Cell(TRAINED, pattern, format, QUANTIZED_FIRST))
            first = self.seeds(Cell(TUNED, pattern, format, PRUNED_FIRST))
            shared = late.keys() & first.keys()
            runs.append({s: self._sign * (late[s] - first[s]) for s in shared})
        return self._by_seed(runs)

    def forecast(self, protocol: str) -> "Agreement | None":
        """Returns how well damage before training foretells what came by a protocol.

        None with fewer than three settings.
        """
        before, after, order_told = [], [], []
        for (pattern, format), found in self.analyses.items():
            damages = [found["values"].get(order) for order in ORDERS]
            came = [
                self.seeds(Cell(protocol, pattern, format, order)) for order in ORDERS
            ]
            means = [self._sign * statistics.mean(s.values()) for s in came if s]
            if came[0] and damages[0] is not None:
                before.append(damages[0])
                after.append(means[0])
            if len(means) == 2 and None not in damages:
                right = (damages[1] > damages[0]) == (means[1] > means[0])
                order_told.append(right)
        if len(before) < 3:
            return None
        correlation = rank_correlation(before, after)
        if not np.isfinite(correlation):
            return None
        return Agreement(correlation, len(before), sum(order_told), len(order_told))
