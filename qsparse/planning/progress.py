"""Progress: how far a recipe was carried out, and what is missing.

Plain data, so that a model in memory and a file that nobody loads answer alike.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from qsparse.planning.clock import Clock

# The pattern of a rule that leaves a kernel as it is.
DENSE = "dense"

_REMEDY = (
    "Fit on with the same recipe, let its phases end earlier, or restore only weights "
    "from after them (EarlyStopping has start_from_epoch)."
)


def has_parts(recipe: Mapping[str, Any]) -> tuple[bool, bool]:
    """Returns whether a recipe prunes, and whether it quantizes, rules included.

    Args:
        recipe: as `Recipe.to_dict` writes it.
    """
    rules = recipe.get("rules", ())
    prunes = any(rule.get("pattern") not in (None, DENSE) for rule in rules)
    quantizes = any(rule.get("quantize") for rule in rules)
    return recipe["pattern"] is not None or prunes, bool(
        recipe["quantize"]
    ) or quantizes


@dataclass(frozen=True)
class Progress:
    """What a compressed model has of what its recipe asks for.

    Attributes:
        recipe: the recipe as `Recipe.to_dict` writes it.
        clock: what began when, and the last step that was seen to.
        quantizing: whether fake quantization is on.
        sparsity: share of zeros among the pruned layers' weights, in [0, 1].
        ranges: how many activation ranges the model holds.
        trained: how many of them training has found.
    """

    recipe: Mapping[str, Any]
    clock: Clock
    quantizing: bool
    sparsity: float
    ranges: int
    trained: int

    def shortfall(self) -> str | None:
        """Returns what the model lacks, in sentences; None if it lacks nothing.

        Training has not begun or ended early, or something brought back earlier
        weights, as `EarlyStopping(restore_best_weights=True)` does.
        """
        if not self.clock.begun:
            return (
                "The recipe has not begun: the model is dense and float. Train it "
                "with a callback of qsparse.callbacks."
            )
        late = [name for name, step in self._moments() if self.clock.step < step]
        if late:
            return (
                f"The recipe was not carried out: the model is {self._state()}, as of "
                f"step {self.clock.step}, which comes before {' and '.join(late)}. "
                + _REMEDY
            )
        if self.quantizing and self.ranges and not self.trained:
            return (
                f"The recipe was not carried out: none of {self.ranges} activation "
                "ranges was trained, because no step of training ran the compressed "
                "layers. Train with model.fit, or call the model with training=True."
            )
        return None

    def _state(self) -> str:
        has = ["float"]
        if self.quantizing:
            has = [f"int8 ({self.trained} of {self.ranges} activation ranges trained)"]
        if has_parts(self.recipe)[0]:
            has.append(f"{self.sparsity:.1%} of {self.recipe['sparsity']:.1%} sparse")
        return ", ".join(has)

    def _moments(self) -> list[tuple[str, int]]:
        """Returns what the parts of the recipe wait for, and at which step it is."""
        recipe, (_, pruning, quantizing) = self.recipe, self.clock
        moments = []
        prunes, quantizes = has_parts(recipe)
        if prunes:
            moments.append(("prune_until", pruning.step_of(recipe["prune_until"])))
        if quantizes:
            start = quantizing.step_of(recipe["quantize_from"])
            moments.append(("quantize_from", start))
        return moments
