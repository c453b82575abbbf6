"""What an export takes of a model: everything as it is now, as constants."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import keras
import numpy as np

from qsparse.engine.state import compressions


@dataclass(frozen=True)
class FixedKernel:
    """A kernel as an export takes it; arrays have the shape it has in the layer.

    Attributes:
        values: what the layer computes with, float32.
        integers: int8, each channel of `values` a multiple of them; None where the
            values are on no grid.
        mask: bool, True where kept; None if the layer is not pruned.
    """

    values: np.ndarray
    integers: np.ndarray | None
    mask: np.ndarray | None


@contextmanager
def export_mode(model: keras.Model, on_grid: bool = True) -> Iterator[None]:
    """Traces constants: pruned, baked kernels and fixed activation ranges.

    Inside, every compressed kernel is a float constant on its int8 grid, and
    every trained range is one fake-quantization op with constant limits.

    Args:
        model: a compressed model, or a plain one, which stays as it is.
        on_grid: False leaves kernels that training did not quantize in float.
    """
    children = compressions(model)
    for state in {child.state() for child in children}:
        state.refresh()
    try:
        for child in children:
            child.fix(on_grid)
        yield
    finally:
        for child in children:
            child.release()
