"""Slots: what an optimizer remembers of weights that are pruned or that grow anew.

A momentum of before would move a weight that has no gradient any more, or push one
that starts from zero.
"""

from typing import Any

import keras
import numpy as np

from qsparse.keras_compat import innermost, slots_of


def forget(optimizer: Any, variable: keras.Variable, where: np.ndarray) -> None:
    """Sets what an optimizer remembers of some weights to what it begins with.

    Args:
        optimizer: the model's; None, and one that has not made a step, are left alone.
        variable: the weights.
        where: bool, of their shape.
    """
    if optimizer is None or not where.any():
        return
    for slot, begins in slots_of(innermost(optimizer), variable):
        values = slot.numpy()
        slot.assign(np.where(where, values.dtype.type(begins), values))
