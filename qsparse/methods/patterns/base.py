"""What a pattern is, and how text names one."""

import math
import re
from numbers import Real
from typing import Any, Protocol

import numpy as np

from qsparse.methods.registry import Registry
from qsparse.methods.validate import real


class Pattern(Protocol):
    """What the rest of qsparse needs to know of a pattern.

    One whose tiles are pruned whole says so in an attribute `tile`, `(outputs,
    inputs)`, and one that keeps `n` of every `m` of them has these: some criteria and
    the one-shot methods go by tiles. Without it tiles are single weights.

    Two more methods are optional, `capacity` and `unit_scores`: see
    `qsparse.methods.patterns.capacity`.
    """

    def mask(self, scores: np.ndarray, sparsity: float | None) -> np.ndarray:
        """Returns a mask.

        Args:
            scores: finite float scores `(taps, inputs, outputs)`, of either sign.
            sparsity: share of zeros, above 0 and at most the final one. At 0
                everything is kept, and no pattern is asked.

        Returns:
            Bool array (True = kept) of the shape of `scores`; equal on every machine,
            whatever scores are equal.
        """

    def misfit(self, shape: tuple[int, int, int]) -> str | None:
        """Returns why the pattern cannot be laid on a canonical shape, or None."""

    def final_sparsity(self, sparsity: float | None) -> float:
        """Returns the sparsity in [0, 1) reached at the end of the schedule."""


# Of text that names a tile.
TILE = r"(\d+)x(\d+)"


class Patterns(Registry):
    """Patterns, whose sparsity is often given in their place."""

    def get(self, identifier: Any) -> Any:
        """Returns an instance from an instance, a name, text, or a dict.

        Raises:
            ValueError: if the identifier is none of these.
        """
        if isinstance(identifier, Real):
            raise ValueError(
                f"Unknown pattern: {identifier!r} is a number. A share of zeros goes "
                f"to `sparsity`: write sparsity={identifier!r}."
            )
        return super().get(identifier)

    def _allowed(self) -> str:
        return super()._allowed() + ', or text like "4x4", "16x4", "2:4", "2:4 of 4x4"'


PATTERNS = Patterns("pattern", ("mask", "misfit", "final_sparsity"))


def check_sparsity(sparsity: float | None, pattern: str) -> float:
    """Returns `sparsity` if it is a number in [0, 1), else raise."""
    share = math.nan
    hint = _percent_hint(sparsity)
    if sparsity is not None and not hint:
        share = real("sparsity", sparsity)
    if not 0.0 <= share < 1.0:
        raise ValueError(
            f"{pattern} needs `sparsity`, the share of zeros, in [0, 1). "
            f"Received: sparsity={sparsity!r}{hint}"
        )
    return share


def _percent_hint(sparsity: Any) -> str:
    """Returns what to write instead of "75%" or 75; empty for anything else."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d*)?)\s*(%?)\s*", str(sparsity))
    if not match or not (match[2] or 1 < float(match[1]) < 100):
        return ""
    percent = float(match[1])
    return f". Write {percent / 100:g} for {percent:g}%"
