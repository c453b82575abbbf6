"""Integers whose scale is learned by the gradient of the loss (LSQ)."""

from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from keras import ops

from qsparse.methods.formats.base import FORMATS
from qsparse.methods.formats.integers import IntN

# Where a grid may end, as shares of the greatest weight.
_SHARES = np.linspace(0.04, 1.0, 25, dtype=np.float32)


@FORMATS.register("learned-int")
@dataclass(frozen=True)
class LearnedInt(IntN):
    """Weights of a few bits, whose scale training learns; activations as of `Int8`.

    Esser et al., "Learned step size quantization", 2020 (LSQ; the formulas are from
    secondary sources). With `w` for a weight, `Q` for the largest integer and `s` for
    the scale, `r = s * clip(round(w / s), -Q, Q)` and

        dr/ds = (r - w) / s  where |w| <= Q s,  Q above,  -Q below
        dr/dw = 1            where |w| <= Q s,  0 beyond

    where `dr/ds` is scaled by `1 / sqrt(Q * weights)`, with the weights that share the
    scale.

    Unlike there, the grid ends at a *share* of the greatest weight, which moves with
    the weights, and what is trained is by how much that share grows: 0 at first, from
    -1 to 1. A step of SGD moves a scale as it would in the paper; to Adam, whose steps
    are about as long as the learning rate, it is a share, whatever the size of the
    weights; weight decay pulls it back to its start. It starts where the weights, as
    they are when quantization begins, are rounded with the least squared error, and not
    with the paper's `2 mean|w| / sqrt(Q)`, which at 8 bits is far beyond them.

    The optimizer of `compile` trains them. One that is built already takes them on
    beside what it has. `freeze_ranges_from` freezes activations only, and scales of a
    layer that is frozen train all the same: a rule leaves it alone.

    Text like "learned-int4" names it.

    Args:
        bits: 2 to 8.
        per_channel: whether each output channel has a scale of its own; else the
            kernel has one.

    Raises:
        ValueError: as of `IntN`.
    """

    trained: ClassVar[bool] = True
    _text: ClassVar[str] = r"learned-int(\d+)"

    def start(self, canonical: np.ndarray) -> np.ndarray:
        """Returns the share of the greatest weight that rounds with the least error.

        Args:
            canonical: float32 weights `(taps, inputs, outputs)`.

        Returns:
            float32 `(outputs,)`, in (0, 1]; all the same where there is one scale.
        """
        axes = (0, 1) if self.per_channel else None
        most = np.abs(canonical).max(axis=axes)
        best, least = np.ones_like(most), np.full_like(most, np.inf)
        for share in _SHARES[::-1]:
            codes, scale = self.coded(canonical, most * share)
            error = ((self.decode(codes, scale) - canonical) ** 2).sum(axis=axes)
            better = error < least
            best, least = np.where(better, share, best), np.where(better, error, least)
        return np.broadcast_to(best, canonical.shape[2:]).astype(np.float32)

    def rounded(self, weights: Any, ends: Any) -> Any:
        """Returns weights on the grid that reaches to `ends`, which clips them."""
        scale = ends / self.largest
        scale = ops.where(scale > 0, scale, ops.ones_like(scale))
        codes = ops.clip(ops.round(weights / scale), -self.largest, self.largest)
        return codes * scale

    def coded(
        self, canonical: np.ndarray, ends: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """Returns integers and scales of the grid that reaches to `ends`."""
        scale = ends / np.float32(self.largest)
        scale = np.where(scale > 0, scale, np.float32(1))
        codes = np.clip(np.round(canonical / scale), -self.largest, self.largest)
        return codes.astype(np.int8), scale

    def learning(
        self, rounded: Any, canonical: Any, ends: Any, begun: Any, grown: Any
    ) -> Any:
        """Returns `rounded` exactly, with gradients for `canonical` and `grown`.

        Args:
            rounded: weights, rounded, or as they are where nothing is rounded yet.
            canonical: those weights, float32 `(taps, inputs, outputs)`.
            ends: where the grid ends, or not less than any weight where nothing is
                rounded; like all that follow `(outputs,)`, or `(1,)` for one grid.
            begun: where the grid would end if nothing had grown.
            grown: what is trained: by which share an end is larger.
        """

        @ops.custom_gradient
        def forward(
            rounded: Any, weights: Any, grown: Any, ends: Any, begun: Any
        ) -> Any:
            def backward(*args: Any, upstream: Any = None) -> Any:
                (upstream,) = args if upstream is None else (upstream,)
                within = ops.cast(ops.abs(weights) <= ends, weights.dtype)
                share = self._slope(upstream, rounded, weights, within, ends, begun)
                nothing = ops.zeros_like(ends)
                zeros = ops.zeros_like(rounded)
                return zeros, upstream * within, share, nothing, nothing

            return rounded, backward

        stopped = (ops.stop_gradient(each) for each in (ends, begun))
        return forward(ops.stop_gradient(rounded), canonical, grown, *stopped)

    def _slope(
        self,
        upstream: Any,
        rounded: Any,
        weights: Any,
        within: Any,
        ends: Any,
        begun: Any,
    ) -> Any:
        """Returns the gradient of `grown`.

        An end is `begun * (1 + grown)`, and `largest` scales: so SGD with this gradient
        moves a scale as far as with the paper's.
        """
        inside = within * (rounded - weights) * self._inverse(ends)
        by_scale = (inside + (1.0 - within) * ops.sign(weights)) * self.largest
        total = ops.sum(upstream * by_scale, axis=(0, 1))
        if not self.per_channel:
            total = ops.sum(total, keepdims=True)
        sharing = np.prod(weights.shape[: 2 if self.per_channel else 3], dtype=float)
        scale = np.float32(np.sqrt(self.largest / sharing))
        return total * scale * self._inverse(begun)

    @staticmethod
    def _inverse(ends: Any) -> Any:
        """Returns `1 / ends`, and 0 for channels of zeros."""
        there = ends > 0.0
        inverse = 1.0 / ops.where(there, ends, ops.ones_like(ends))
        return ops.where(there, inverse, ops.zeros_like(ends))

    def __str__(self) -> str:
        return f"learned-{super().__str__()}"
