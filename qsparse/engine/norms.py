"""Normalization statistics: late in training they may stay what they are.

With statistics of its own batch, a BatchNormalization computes something else in
training than what is folded into the weights of the exported file. In the last steps
it normalizes as it will when it predicts, and the weights settle on that
(Krishnamoorthi, "Quantizing deep convolutional networks for efficient inference",
2018, section 3.2.2).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import keras
from keras import layers

from qsparse.engine.classes import compressed_class
from qsparse.engine.state import (
    CHILD,
    Compression,
    ModelState,
    compression_of,
    state_of,
)
from qsparse.keras_compat import add_child, remove_child, walk_layers
from qsparse.planning.plan import LayerPlan
from qsparse.planning.targets import NORMS


class FrozenStatistics(Compression):
    """Makes a BatchNormalization use its moving statistics while training.

    Gamma and beta go on training. The switch is `Switches.statistics_frozen`.

    Args:
        plan: what becomes of the layer.
        state: the model's shared state.
    """

    def __init__(self, plan: LayerPlan, state: ModelState) -> None:
        super().__init__(plan, state)
        self.built = True

    def quantize_inputs(self, inputs: Any) -> Any:
        """Returns the inputs: they are folded away, and quantized elsewhere."""
        return inputs

    def trains(self, training: Any) -> Any:
        """Returns whether the layer follows its batch, where the call says `training`.

        While statistics are estimated it does, though nothing else trains.
        """
        state = self.state()
        if state.estimating:
            return True
        return training and not state.switches.statistics_frozen

    def fix(self, on_grid: bool = True) -> None:
        """A traced graph predicts, and holds the moving statistics anyway."""

    def release(self) -> None:
        """Nothing was frozen."""

    def detach(self) -> None:
        """Nothing stays behind: the layer trains its statistics again."""


@contextmanager
def estimated_statistics(model: keras.Model) -> Iterator[list[layers.Layer]]:
    """Lets every BatchNormalization follow what the model is called with.

    Inside, calls with `training=False` train statistics and nothing else. Frozen
    layers keep theirs. To be used with calls that nothing traces.

    Args:
        model: a compressed model.

    Yields:
        The layers that follow.
    """
    state = state_of(model)
    if state is None:
        raise ValueError(f"Model '{model.name}' carries no recipe: attach one.")
    norms = [
        (path, layer)
        for path, layer in walk_layers(model)
        if isinstance(layer, NORMS) and layer.trainable and layer.built
    ]
    bare = [(path, norm) for path, norm in norms if compression_of(norm) is None]
    try:
        for path, norm in bare:
            plan = LayerPlan(path, type(norm).__name__, freezes_statistics=True)
            add_child(norm, CHILD, FrozenStatistics(plan, state))
            norm.__class__ = compressed_class(type(norm))
        state.estimating = True
        yield [norm for _, norm in norms]
    finally:
        state.estimating = False
        for _, norm in bare:
            if compression_of(norm) is not None:
                norm.__class__ = type(norm).original_class
                remove_child(norm, CHILD)
