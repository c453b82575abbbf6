"""The problem of one layer: keep what it computes on the data, with fewer weights.

With the layer's inputs as columns of X and its weights as rows of W, a layer W' errs by
`||W X - W' X||^2 = tr(D H D^T)`, where `D = W' - W` and `H = X X^T`: the data is in H,
however much of it there was.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np


@dataclass(frozen=True)
class Problem:
    """The weights of one layer, and the Gram matrix of what flows into it.

    Attributes:
        weights: float64 `(rows, columns)`: a row for each output, and for each tap and
            input a column, tap by tap.
        gram: `X X^T`, float64 `(columns, columns)`.
        shape: the kernel's canonical shape, `(taps, inputs, outputs)`.
        damping: share of H's mean diagonal that is added to its diagonal, above 0.
        memory: bytes that arrays beside these may take.
    """

    weights: np.ndarray
    gram: np.ndarray
    shape: tuple[int, int, int]
    damping: float = 0.01
    memory: int = 1 << 28

    @cached_property
    def damped(self) -> np.ndarray:
        """H with a share of its mean diagonal added: positive definite.

        Inputs that are dead (`H_jj = 0`) need no care of their own: their weights cost
        next to nothing to drop, and stay what they are where they are kept. Without
        any data all weights are alike.
        """
        added = self.damping * float(np.diag(self.gram).mean())
        return self.gram + np.eye(len(self.gram)) * (added if added > 0 else 1.0)

    def errors(self, values: np.ndarray) -> np.ndarray:
        """Returns `||W X - W' X||^2` of each row, float64 `(rows,)`.

        Args:
            values: W', `(rows, columns)`.
        """
        difference = values - self.weights
        found = ((difference @ self.gram) * difference).sum(axis=1)
        return np.maximum(found, 0.0)

    @cached_property
    def energy(self) -> float:
        """`||W X||^2`."""
        return float(self.errors(np.zeros_like(self.weights)).sum())

    def canonical(self, rows: np.ndarray) -> np.ndarray:
        """Returns `(rows, columns)`, all rows or some, as `(taps, inputs, rows)`."""
        return canonical(rows, self.shape)

    def rows(self, canonical: np.ndarray) -> np.ndarray:
        """Returns `(taps, inputs, outputs)` as `(rows, columns)`."""
        return rows_of(canonical)


def canonical(rows: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns `(rows, columns)` as `(taps, inputs, rows)` of a kernel of `shape`."""
    taps, inputs, _ = shape
    return np.ascontiguousarray(rows.T).reshape(taps, inputs, len(rows))


def rows_of(canonical: np.ndarray) -> np.ndarray:
    """Returns `(taps, inputs, outputs)` as `(rows, columns)`."""
    return np.ascontiguousarray(canonical.reshape(-1, canonical.shape[2]).T)
