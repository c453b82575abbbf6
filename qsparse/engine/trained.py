"""What an optimizer trains beside the user's weights: how far ranges have grown."""

from typing import Any, ClassVar

import keras
from keras import ops

from qsparse.keras_compat import walk_layers
from qsparse.methods.estimators import nothing_with_gradient


class Trained:
    """A layer with ranges that an optimizer moves.

    Attributes:
        grown: float32, by which share each end is larger than it was when it began; 0
            at first. None where nothing is trained.
        trains_ranges: tells a survey of weights that these are not the user's.
    """

    trains_ranges: ClassVar[bool] = True
    grown: Any = None


def add_grown(layer: keras.layers.Layer, shape: tuple[int, ...]) -> keras.Variable:
    """Adds what an optimizer moves.

    Its loss is nothing, and gives it a gradient where quantization is off: Keras warns
    of variables without one.

    Args:
        layer: gets the weight.
        shape: of the variable.
    """
    variable = layer.add_weight(
        name="grown",
        shape=shape,
        dtype="float32",
        initializer="zeros",
        constraint=_within_bounds,
        regularizer=_nothing,
        aggregation="mean",
    )
    variable.trainable = True  # Keras takes that from a layer that is not.
    return variable


def trained_ranges(model: keras.Model) -> list[keras.Variable]:
    """Returns the variables by which an optimizer moves ranges of a model."""
    children = (child for _, child in walk_layers(model))
    found = [child.grown for child in children if isinstance(child, Trained)]
    return [grown for grown in found if grown is not None]


def _within_bounds(grown: Any) -> Any:
    """Keeps an end between 0 and twice its start.

    Within a range the gradient is that of rounding, whose mean is nothing: a large rate
    of SGD lets an end wander off, to a range that nothing fills.
    """
    return ops.clip(grown, -1.0, 1.0)


def _nothing(grown: Any) -> Any:
    grown = ops.convert_to_tensor(grown)
    return nothing_with_gradient(grown, ops.zeros_like(grown))
