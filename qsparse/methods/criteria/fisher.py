"""Diagonal Fisher: what the loss would change by without a weight, to second order."""

from dataclasses import dataclass

import numpy as np

from qsparse.methods.criteria.base import CRITERIA

_SOURCES = {"data": "squares", "optimizer": "moments"}


@CRITERIA.register("fisher")
@dataclass(frozen=True)
class Fisher:
    """Scores a weight by the diagonal of the empirical Fisher matrix.

    `w^2 * sum of g^2 / 2`: what the loss would grow by without the weight, to second
    order, where the Hessian is taken for the Fisher matrix and that for its diagonal
    (LeCun et al., "Optimal brain damage", 1990; Theis et al., "Faster gaze prediction
    with dense networks and Fisher pruning", 2018; the formula was taken from secondary
    sources). `g` is the gradient of a batch.

    Args:
        source: `"data"`: squares are added up over `score_data` or, where none is
            given, over the steps since the last selection. `"optimizer"`: nothing is
            computed for it. Adam, AdamW, Nadam, Lamb and RMSprop keep a running mean of
            g^2 to divide by, their second moment `v`, which stands for the sum: it
            weighs late steps more, and gradients are clipped, if the optimizer does.

    Raises:
        ValueError: if `source` is neither.
    """

    source: str = "data"

    def __post_init__(self) -> None:
        if self.source not in _SOURCES:
            raise ValueError(
                f"Fisher needs a source out of {sorted(_SOURCES)}. "
                f"Received: source={self.source!r}"
            )

    @property
    def needs(self) -> tuple[str, ...]:
        """`squares` or `moments`, as `source` says."""
        return (_SOURCES[self.source],)

    def score(
        self,
        weights: np.ndarray,
        squares: np.ndarray | None = None,
        moments: np.ndarray | None = None,
    ) -> np.ndarray:
        """Returns `weights^2 * squares / 2`, float64.

        Args:
            weights: float32 `(taps, inputs, outputs)`.
            squares: of the same shape: the sum of squared gradients; or
            moments: of the same shape: their running mean.
        """
        seen = squares if moments is None else moments
        # float32 would lose the squares of what is under 1e-19.
        return np.square(weights, dtype=np.float64) * seen / 2
