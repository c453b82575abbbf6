"""What a one-shot method is."""

from typing import Any, ClassVar, Protocol

import numpy as np

from qsparse.methods.registry import Registry
from qsparse.oneshot.problem import Problem


class Method(Protocol):
    """What `qsparse.one_shot` asks of a method."""

    refits: ClassVar[bool]
    """Whether the weights that stay make up for those that go."""

    def mask(self, problem: Problem, plan: Any) -> np.ndarray:
        """Returns which weights of a layer stay.

        Args:
            problem: the layer's weights and inputs.
            plan: its `LayerPlan`, with a pattern.

        Returns:
            What `plan.pattern.mask` returns for some scores at `plan.sparsity`: bool
            `(taps, inputs, outputs)`, True where kept.
        """


ONE_SHOT = Registry("one-shot method", ("refits", "mask"))


def ranks(scores: np.ndarray, kept: np.ndarray) -> np.ndarray:
    """Returns the place of each score, all different: first what goes, lowest first.

    Args:
        scores: float array; of a tie the lower flat index comes later.
        kept: bool array of its shape; what it marks comes after all the others.
    """
    order = np.lexsort((-np.arange(scores.size), scores.reshape(-1), kept.reshape(-1)))
    places = np.empty(scores.size)
    places[order] = np.arange(scores.size)
    return places.reshape(scores.shape)


def selected(
    problem: Problem, plan: Any, tiles: np.ndarray, tile: tuple[int, int]
) -> np.ndarray:
    """Returns the pattern's own mask for scores of whole tiles: its counts are exact.

    Args:
        problem: the layer's.
        plan: its plan.
        tiles: float scores `(tile rows, tiles of a row)`, which sums keep exact, as
            whole numbers.
        tile: `(outputs, inputs)` of a tile.
    """
    outputs, inputs = tile
    scores = tiles.repeat(outputs, axis=0).repeat(inputs, axis=1)
    return plan.pattern.mask(problem.canonical(scores), plan.sparsity)
