"""What a forecast found: a ranking, and how well it agrees with what came."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qsparse.analysis.ranks import rank_correlation
from qsparse.methods.formats import name_of


@dataclass(frozen=True)
class Choice:
    """One way to compress a model, and what it costs before training.

    Attributes:
        pattern: as of `Recipe`.
        sparsity: the share of zeros in pruned layers.
        format: of the weights, as of `Recipe`.
        order: "S->Q" or "Q->S".
        value: the metric.
        damage: by how much that is worse than that of the dense model; negative if it
            is better.
    """

    pattern: Any
    sparsity: float
    format: Any
    order: str
    value: float
    damage: float

    @property
    def name(self) -> str:
        """As "2:4/50%/int8/S->Q"."""
        format = name_of(self.format)
        return f"{self.pattern}/{self.sparsity:.0%}/{format}/{self.order}"


@dataclass(frozen=True)
class Forecast:
    """Ways to compress a model, the one that costs least first.

    Attributes:
        metric: what was measured; see `qsparse.SensitivityReport`.
        less_is_better: whether less of it is better.
        samples: how many samples it was measured on.
        dense: the metric of the dense model.
        choices: what was tried.
    """

    metric: str
    less_is_better: bool
    samples: int
    dense: float
    choices: tuple[Choice, ...]

    @property
    def best(self) -> Choice:
        """What costs least."""
        return self.choices[0]

    def agreement(self, results: Mapping[str, float], *, more_is_better: bool) -> float:
        """Returns how well this ranking agrees with one after training.

        Args:
            results: a metric after training, by the name of a choice; two at least.
            more_is_better: True for an accuracy, False for a loss.

        Returns:
            Spearman's rank correlation of the damage with how bad the results are, in
            [-1, 1]: 1 if both agree on every pair.

        Raises:
            ValueError: if a name is that of no choice, or there are fewer than two.
        """
        known = {choice.name: choice.damage for choice in self.choices}
        unknown = sorted(set(results) - set(known))
        if unknown:
            raise ValueError(
                f"No choice is named {unknown[0]!r}. There are {', '.join(known)}."
            )
        sign = -1.0 if more_is_better else 1.0
        damages = [known[name] for name in results]
        return rank_correlation(damages, [sign * each for each in results.values()])

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description."""
        rows = [
            {"name": c.name, "value": c.value, "damage": c.damage} for c in self.choices
        ]
        return {
            "metric": self.metric,
            "less_is_better": self.less_is_better,
            "samples": self.samples,
            "dense": self.dense,
            "choices": rows,
        }

    def __str__(self) -> str:
        width = max(len(choice.name) for choice in self.choices)
        title = f"{self.metric} {self.dense:.4g} dense, on {self.samples} samples"
        lines = [title, f"{'':{width}}  {self.metric:>10}  worse by"]
        for choice in self.choices:
            line = f"{choice.name:{width}}  {choice.value:10.4g}  {choice.damage:8.4g}"
            lines.append(line)
        return "\n".join(lines)
