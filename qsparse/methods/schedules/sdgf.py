"""SdGf: N:M by way of looser patterns, frame by frame."""

from dataclasses import dataclass, replace
from typing import Any

from qsparse.methods.patterns import NM
from qsparse.methods.schedules.base import SCHEDULES, periodic, progress_of

_KINDS = ("stepwise", "geometric")


@SCHEDULES.register("sdgf")
@dataclass(frozen=True)
class SdGf:
    """Structure-decaying gradient flow: frames of equal length that end at N:M.

    Bambhaniya et al., "Progressive gradient flow for robust N:M sparsity training in
    transformers" (2024). "stepwise" prunes more from frame to frame:
    `(M-1):M, M/2:M, M/4:M, ..., N:M`. "geometric" has the final share of zeros from the
    start, in larger groups that leave weights more freedom: `8N:8M, 4N:4M, 2N:2M, N:M`.

    Frames that do not fit a kernel, as its inputs are not divisible by the groups, are
    left out for that kernel, and the others last longer. A frame begins with the first
    selection of masks in it. The paper trains densely at first (`prune_from`) and with
    the last masks in the end (`prune_until`).

    Args:
        kind: "stepwise" or "geometric".

    Raises:
        ValueError: if `kind` is neither.
    """

    kind: str = "stepwise"

    def __post_init__(self) -> None:
        if self.kind not in _KINDS:
            raise ValueError(
                f"SdGf needs `kind`, one of {_KINDS}. Received: kind={self.kind!r}"
            )

    def frames(self, pattern: Any, shape: tuple[int, int, int]) -> list[NM]:
        """Returns the patterns that lead to an `NM` on a canonical shape, in order.

        Raises:
            ValueError: if `pattern` is no `NM`.
        """
        if not isinstance(pattern, NM):
            raise ValueError(
                f"SdGf leads to N:M patterns, and this one is {pattern}. Give an N:M "
                'pattern, as "2:4", or another schedule, as "cubic".'
            )
        n, m = pattern.n, pattern.m
        if self.kind == "geometric":
            looser = [replace(pattern, n=k * n, m=k * m) for k in (8, 4, 2)]
        else:
            kept = [m - 1]
            while m // 2 ** len(kept) > n:
                kept.append(m // 2 ** len(kept))
            looser = [replace(pattern, n=k) for k in dict.fromkeys(kept) if k > n]
        return [*(frame for frame in looser if not frame.misfit(shape)), pattern]

    def pattern(
        self, step: int, begin: int, end: int, pattern: Any, shape: tuple[int, int, int]
    ) -> NM:
        """Returns the frame of a step.

        Raises:
            ValueError: if `pattern` is no `NM`.
        """
        frames = self.frames(pattern, shape)
        place = int(progress_of(step, begin, end) * len(frames))
        return frames[min(place, len(frames) - 1)]

    def sparsity(self, step: int, begin: int, end: int, final: float) -> float:
        """Returns `final` from `begin` on: as much as the frame allows."""
        return final if step >= begin else 0.0

    def refreshes(self, step: int, begin: int, end: int, every: int) -> bool:
        """Every `every` steps of the phase, and at its end."""
        return periodic(step, begin, end, every)
