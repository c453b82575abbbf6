"""Selection: the masks of a model at a step, as schedule and allocation have them."""

import zlib
from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

import keras
import numpy as np

from qsparse.engine.kernel import KernelCompression, Selection
from qsparse.engine.scoring import Scoring
from qsparse.engine.slots import forget
from qsparse.engine.state import ModelState
from qsparse.methods.allocations import is_dynamic
from qsparse.methods.patterns import capacity, unit_scores
from qsparse.methods.schedules import laid_on
from qsparse.planning.plan import LayerPlan


class Moment(NamedTuple):
    """When masks are selected.

    Attributes:
        step: the step of training.
        begin, end: the first and the last step of pruning.
    """

    step: int
    begin: int
    end: int

    @property
    def progress(self) -> float:
        """How much of the pruning phase is over, in [0, 1]."""
        if self.step >= self.end:
            return 1.0
        return (self.step - self.begin) / (self.end - self.begin)

    def seed(self, name: str) -> int:
        """Returns a number for what is random of something at this step."""
        return zlib.crc32(f"{name}:{self.step}".encode())


class Selector:
    """Selects the masks of a model.

    Args:
        model: the model, whose optimizer forgets what no longer holds.
        state: what its layers share.
    """

    def __init__(self, model: keras.Model, state: ModelState) -> None:
        self._model = model
        self._state = state
        self._scoring = Scoring(model, state.score_data)

    def check(self, layers: Sequence[KernelCompression]) -> None:
        """Checks that there is what layers are scored by; raises as `Scoring.check`."""
        self._scoring.check(layers)

    def select(
        self, layers: Sequence[KernelCompression], moment: Moment
    ) -> list[Selection]:
        """Selects the mask of each layer anew; returns what became of it.

        Args:
            layers: all that are pruned.
            moment: now.
        """
        shares = self.shares(layers, moment)
        return [
            self._select(layer, moment, share)
            for layer, share in zip(layers, shares, strict=True)
        ]

    def shares(
        self, layers: Sequence[KernelCompression], moment: Moment
    ) -> list[float]:
        """Scores what is to be scored, and returns the sparsity of each layer.

        Args:
            layers: all that are pruned.
            moment: now.
        """
        recipe = self._state.recipe
        if is_dynamic(recipe.allocation):
            total = self._scheduled(moment, recipe.sparsity or 0.0)
            self._score(layers, [total] * len(layers))
            return self._shared_out(layers, moment, total)
        shares = [self._scheduled(moment, layer.plan.sparsity) for layer in layers]
        self._score(layers, shares)
        return shares

    def _score(
        self, layers: Sequence[KernelCompression], shares: Sequence[float]
    ) -> None:
        """Scores what has to be scored before any mask changes."""
        pairs = zip(layers, shares, strict=True)
        awaiting = [layer for layer, share in pairs if layer.ranking.is_awaited(share)]
        for layer, seen in self._scoring.seen(awaiting):
            layer.ranking.score(seen)

    def _shared_out(
        self, layers: Sequence[KernelCompression], moment: Moment, total: float
    ) -> list[float]:
        """Returns the sparsity of each layer, by the scores of now."""
        if total == 0:  # There may be no gradients yet to score by.
            return [0.0] * len(layers)

        plans = [layer.plan for layer in layers]
        fixed = [
            None if plan.fixed is None else self._scheduled(moment, plan.sparsity)
            for plan in plans
        ]
        scores = [layer.ranking.scores() for layer in layers]
        allocation = self._state.recipe.allocation
        return shares_by_scores(allocation, plans, fixed, scores, total)

    def _select(
        self, layer: KernelCompression, moment: Moment, share: float
    ) -> Selection:
        pattern = self._laid_on(layer, moment)
        if pattern != layer.pattern:
            share = min(share, capacity(pattern, layer.layout.canonical_shape).most)
        regrowth = layer.plan.regrowth
        fraction = None if regrowth is None else regrowth.fraction(moment.progress)
        seed = moment.seed(layer.path_in_model)
        selection = layer.select_mask(share, pattern, fraction, seed)
        optimizer = getattr(self._model, "optimizer", None)
        for where in (selection.grown, layer.without_gradient()):
            if where is not None:
                forget(optimizer, layer.master_variable, where)
        return selection

    def _scheduled(self, moment: Moment, final: float) -> float:
        return self._state.recipe.schedule.sparsity(*moment, final)

    def _laid_on(self, layer: KernelCompression, moment: Moment) -> Any:
        """Returns the pattern of a layer's mask at a moment."""
        schedule, shape = self._state.recipe.schedule, layer.layout.canonical_shape
        phase = moment.begin, moment.end
        return laid_on(schedule, moment.step, phase, layer.pattern, shape)


def shares_by_scores(
    allocation: Any,
    plans: Sequence[LayerPlan],
    fixed: Sequence[float | None],
    scores: Sequence[np.ndarray],
    total: float,
) -> list[float]:
    """Returns the sparsity of each layer, as a dynamic allocation has it.

    Args:
        allocation: of the recipe.
        plans: of the layers, which are pruned.
        fixed: the sparsity of those that leave no choice; None for the others.
        scores: of their weights, canonical.
        total: the share of zeros of all of them together.
    """
    kernels = [
        plan.kernel(share, partial(unit_scores, plan.pattern, found))
        for plan, share, found in zip(plans, fixed, scores, strict=True)
    ]
    return allocation.allocate(kernels, total)
