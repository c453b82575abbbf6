"""How much two masks differ."""

from typing import Any

import numpy as np


def sum_of_differences(one: Any, other: Any) -> int:
    """Returns how many places two masks differ in (SAD, sum of absolute differences).

    Args:
        one: bool, or 0 and 1.
        other: the same, of the same shape.

    Raises:
        ValueError: if shapes differ, or values are no masks.
    """
    masks = [np.asarray(mask) for mask in (one, other)]
    if masks[0].shape != masks[1].shape:
        raise ValueError(
            f"Masks of one shape can be compared. Received: {masks[0].shape} and "
            f"{masks[1].shape}"
        )
    if not all(np.isin(mask, (0, 1)).all() for mask in masks):
        raise ValueError("Masks hold True and False, or 0 and 1.")
    return int((masks[0].astype(bool) != masks[1].astype(bool)).sum())
