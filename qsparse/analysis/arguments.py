"""What users hand to the functions of this folder, checked."""

from typing import Any

import numpy as np

from qsparse.analysis.compressed import Compressed
from qsparse.methods.formats import FORMATS
from qsparse.methods.patterns import PATTERNS


def compressed(
    weights: Any, pattern: Any, format: Any, sparsity: float | None
) -> Compressed:
    """Returns a tensor with what is to be done to it.

    Args:
        weights: float `(inputs, outputs)` or `(taps, inputs, outputs)`, finite.
        pattern: of the mask, an instance or a name.
        format: what is rounded to, an instance or a name.
        sparsity: share of zeros; None for what an N:M pattern implies.

    Raises:
        ValueError: if one of them is none of these, or the pattern does not fit.
    """
    values = np.asarray(weights)
    if values.ndim == 2:
        values = values[None]
    if values.ndim != 3 or values.size == 0 or values.dtype.kind not in "fiuV":
        raise ValueError(
            "`weights` must be numbers, (inputs, outputs) or (taps, inputs, outputs). "
            f"Received: {values.dtype} of shape {np.shape(weights)}"
        )
    values = values.astype(np.float32)
    if not np.isfinite(values).all():
        raise ValueError("`weights` must be finite; some are NaN or infinite.")
    chosen = PATTERNS.get(pattern)
    misfit = chosen.misfit(values.shape)
    if misfit is not None:
        raise ValueError(f"{chosen} does not fit on {values.shape[1:]}: {misfit}.")
    share = chosen.final_sparsity(sparsity)
    if not share:
        raise ValueError("Nothing is pruned at sparsity=0: there is no interplay.")
    return Compressed(values, chosen, share, FORMATS.get(format))
