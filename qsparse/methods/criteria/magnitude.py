"""Magnitude: small weights matter least."""

from dataclasses import dataclass

import numpy as np

from qsparse.methods.criteria.base import CRITERIA


@CRITERIA.register("magnitude")
@dataclass(frozen=True)
class Magnitude:
    """Scores a weight by its absolute value (Han et al., 2015)."""

    def score(self, weights: np.ndarray) -> np.ndarray:
        """Returns `|weights|`."""
        return np.abs(weights)
