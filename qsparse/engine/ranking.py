"""Ranking: the scores by which the next mask of a layer is selected."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from qsparse.methods.criteria import STATISTICS, needs_of, ranks_once


class Ranking:
    """Scores the weights of one layer, by its plan's criterion and regrowth.

    Args:
        layer: its `KernelCompression`.

    Attributes:
        found: scores `(taps, inputs, outputs)` of the next selection, or of all where
            the criterion ranks once; None where there are none yet.
        gradients: what pruned weights grow by at the next selection, of that shape.
    """

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.found: np.ndarray | None = None
        self.gradients: np.ndarray | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """The statistics that the layer is scored by, by its criterion and regrowth."""
        regrowth = self._layer.plan.regrowth
        grows = regrowth is not None and regrowth.needs_gradients
        names = (*needs_of(self._criterion), *["gradients"] * grows)
        return tuple(dict.fromkeys(names))

    @property
    def goes_on(self) -> bool:
        """Whether selections to come score the weights anew."""
        return not ranks_once(self._criterion) or self.found is None

    def is_awaited(self, sparsity: float) -> bool:
        """Returns whether weights are to be scored before any mask changes.

        Statistics are those of the masks so far, of every layer; and a criterion that
        ranks once does so at the first selection, though that may prune nothing. By the
        weights alone a layer is scored when its own mask is selected.
        """
        once = ranks_once(self._criterion)
        asks = bool(self.needs) and sparsity > 0
        return self.found is None and (once or asks)

    def scores(self) -> np.ndarray:
        """Returns the scores of the next selection.

        Raises:
            ValueError: as `score` does, where there are none yet.
        """
        if self.found is None:
            self.score({})
        scores: Any = self.found
        return scores

    def score(self, seen: Mapping[str, np.ndarray]) -> None:
        """Scores the weights for the next selection of the mask.

        Args:
            seen: the statistics that come from elsewhere, by name, canonical.

        Raises:
            ValueError: if a statistic is missing, if a ranking that holds for good was
                lost, or if the criterion returns no finite scores of the kernel's
                shape; or as `KernelCompression.master` does.
        """
        layer, criterion = self._layer, self._criterion
        if ranks_once(criterion) and not layer.mask_so_far().all():
            raise ValueError(
                f"{criterion} ranks the weights once, and layer "
                f"'{layer.path_in_model}' has a mask by a ranking that is not here: "
                "set_weights brings none. Take weights of a training that goes on from "
                "a file: qsparse.load_model or qsparse.load_weights."
            )
        weights = layer.scored_weights()
        if layer.regrows and layer.plan.regrowth.needs_gradients:
            seen = {**seen, "gradients": self._statistic("gradients", seen)}
            self.gradients = seen["gradients"]
        asked = [name for name in needs_of(criterion) if name not in ("path", "tile")]
        given = layer.plan.statistics(**{n: self._statistic(n, seen) for n in asked})
        scores = np.asarray(criterion.score(weights, **given))
        if scores.shape != weights.shape or not np.isfinite(scores).all():
            raise ValueError(
                f"{type(criterion).__name__}.score must return finite scores "
                f"of the shape of the weights, {weights.shape} for layer "
                f"'{layer.path_in_model}'. Received: shape {scores.shape}, from "
                f"{scores.min(initial=np.inf)} to {scores.max(initial=-np.inf)}"
            )
        self.found = scores

    def use_up(self) -> None:
        """Forgets what a selection was made by, but for what ranks once."""
        self.gradients = None
        if not ranks_once(self._criterion):
            self.found = None

    @property
    def _criterion(self) -> Any:
        return self._layer.plan.criterion

    def _statistic(self, name: str, seen: Mapping[str, np.ndarray]) -> Any:
        if name in seen:
            return seen[name]
        layer = self._layer
        value = None if layer.gradient_sums is None else layer.gradient_sums.take(name)
        if value is None:
            data = " Or give score_data." if STATISTICS[name].from_data else ""
            by_criterion = name in needs_of(self._criterion)
            who = self._criterion if by_criterion else layer.plan.regrowth
            raise ValueError(
                f"{who} scores by {name}, but layer "
                f"'{layer.path_in_model}' had none since masks were last selected. Let "
                "pruning begin after some steps (prune_from), and train with fit, or "
                f"with the optimizer that the model was compiled with.{data}"
            )
        return layer.layout.canonical(value)
