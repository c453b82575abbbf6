"""The integers that the activations of a file become."""

from dataclasses import dataclass

import numpy as np

from qsparse.tflite_export.files.precision import A16W8, INT8

# Nothing is that narrow and alive.
DEAD = 1e-12


@dataclass(frozen=True)
class Grid:
    """Integers between two ends, evenly apart.

    Attributes:
        bits: of the type that holds them.
        symmetric: whether there are as many below zero as above, and the zero point
            is 0.
    """

    bits: int
    symmetric: bool

    @property
    def dtype(self) -> np.dtype:
        """The type that holds them."""
        return np.dtype(f"int{self.bits}")

    @property
    def least(self) -> int:
        """The least integer."""
        return -(2 ** (self.bits - 1)) + self.symmetric

    @property
    def greatest(self) -> int:
        """The greatest integer."""
        return 2 ** (self.bits - 1) - 1

    @property
    def steps(self) -> int:
        """How many steps lead from the least integer to the greatest."""
        return self.greatest - self.least

    def around(self, low: float, high: float) -> tuple[float, float]:
        """Returns a range moved, or widened, so that 0 is one of its levels."""
        low, high = min(low, 0.0), max(high, 0.0)
        if high - low < DEAD:
            # A dead tensor (all zero) still needs a scale; any will do.
            low, high = 0.0, 1.0
        if self.symmetric:
            end = max(-low, high)
            return -end, end
        scale = (high - low) / self.steps
        zero = np.clip(np.floor(-low / scale + 0.5), 0, self.steps)
        return -zero * scale, (self.steps - zero) * scale

    def quantized(
        self, values: np.ndarray, scale: float, zero_point: int
    ) -> np.ndarray:
        """Returns real values as integers of a tensor, clipped to the ends."""
        steps = np.rint(values / scale) + zero_point
        return np.clip(steps, self.least, self.greatest).astype(self.dtype)


INT8_GRID = Grid(8, symmetric=False)
INT16_GRID = Grid(16, symmetric=True)
# Precision of a file that computes in integers -> its grid.
GRIDS = {INT8: INT8_GRID, A16W8: INT16_GRID}
# The type of a tensor -> its grid.
BY_TYPE = {grid.dtype: grid for grid in GRIDS.values()}
