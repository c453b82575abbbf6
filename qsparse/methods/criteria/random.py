"""Random: any weight may go, drawn once."""

import zlib
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from qsparse.methods.criteria.base import CRITERIA
from qsparse.methods.validate import whole


@CRITERIA.register("random")
@dataclass(frozen=True)
class Random:
    """Scores a weight by a random number: what every other criterion has to beat.

    Drawn once, so that masks of growing sparsity lie within each other. The numbers
    follow from `seed` and the layer's path, and are equal on every machine and backend.

    Args:
        seed: a whole number, not negative; another one gives other masks.

    Raises:
        ValueError: if `seed` is no such number.
    """

    needs: ClassVar[tuple[str, ...]] = ("path",)
    once: ClassVar[bool] = True

    seed: int = 0

    def __post_init__(self) -> None:
        object.__setattr__(self, "seed", whole("seed", self.seed))
        if self.seed < 0:
            raise ValueError(f"Random needs seed >= 0. Received: seed={self.seed}")

    def score(self, weights: np.ndarray, path: str) -> np.ndarray:
        """Returns uniform numbers in [0, 1), float32, of the shape of `weights`.

        Args:
            weights: `(taps, inputs, outputs)`.
            path: where the layer lies in the model.
        """
        # The raw bits of a generator are the same in every version of numpy; what its
        # distributions make of them is not promised to be.
        bits = np.random.PCG64([self.seed, zlib.crc32(path.encode())])
        raw = bits.random_raw(weights.size) >> np.uint64(40)
        return (raw * 2.0**-24).astype(np.float32).reshape(weights.shape)
