"""Losses between a teacher and its student, as `keras.distillation` has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
from keras import ops, tree

from qsparse.keras_compat import mask_of
from qsparse.methods.validate import real

# What a bfloat16 cannot tell 1 from, as the code of SquareHead adds it.
_EPSILON = 2.0**-7


class SoftLabels(keras.distillation.DistillationLoss):
    """How far the student's distribution is from the teacher's, at a temperature.

    T^2 * mean over positions of KL(softmax(t / T) || softmax(s / T)), with the logits
    t of the teacher and s of the student (Hinton et al., 2015, "Distilling the
    Knowledge in a Neural Network"; T^2 keeps the gradient's size). Positions that a
    Keras mask leaves out do not count. Several outputs add up.

    `keras.distillation.LogitsDistillation` is refused beside our callbacks where it
    would not do this: Keras 3.15 turns its `loss="kl_divergence"` into the function of
    that name, which takes logits for probabilities and clips them to [0, 1].

    Args:
        temperature: above 0; a higher one shows more of what the teacher holds
            unlikely. Usual are 2 to 5.

    Raises:
        ValueError: if it is not positive.
    """

    def __init__(self, temperature: float = 2.0) -> None:
        self.temperature = real("temperature", temperature)
        if self.temperature <= 0:
            raise ValueError(
                "`temperature` must be positive; 2 is usual. "
                f"Received: temperature={temperature!r}"
            )

    def compute_loss(
        self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any
    ) -> Any:
        """Returns the loss, a scalar.

        Args:
            teacher_outputs: logits, or a structure of them.
            student_outputs: the same of the student.
            **kwargs: not used.

        Raises:
            ValueError: if there is one class only, whose share is 1 in any case.
        """
        total = ops.zeros((), "float32")
        for teacher, student, mask in _pairs(teacher_outputs, student_outputs):
            if student.shape[-1] == 1:
                raise ValueError(
                    "SoftLabels compares distributions over the last axis, which has "
                    f"one place only: shape {tuple(student.shape)}. For one logit or a "
                    "regression take keras.distillation.FeatureDistillation('mse')."
                )
            theirs = ops.log_softmax(teacher / self.temperature)
            ours = ops.log_softmax(student / self.temperature)
            divergence = ops.sum(ops.exp(theirs) * (theirs - ours), axis=-1)
            total = total + self.temperature**2 * _mean(divergence, mask)
        return total


class SquareHead(keras.distillation.DistillationLoss):
    """How far the student's features are from the teacher's, layer by layer.

    Sum over layers of mean((s - t)^2) / (mean(t^2) + epsilon), with the outputs t and
    s of a layer (Kurtic et al., 2023, "Sparse Fine-tuning for Inference Acceleration
    of Large Language Models"). The division makes layers of any scale count alike.
    Both means leave out what a Keras mask on the student's output leaves out.

    Args:
        layers: which are compared: paths or names of layers that have the same one in
            both models, or a dict of the student's -> the teacher's. None: every layer
            with a kernel, if both models are made of the same ones; names that Keras
            counted do not matter then.
        epsilon: above 0.

    Raises:
        ValueError: if `layers` is neither, or names none, or `epsilon` is not positive.
    """

    def __init__(
        self,
        layers: Mapping[str, str] | Sequence[str] | None = None,
        epsilon: float = _EPSILON,
    ) -> None:
        if isinstance(layers, str):
            layers = [layers]
        if layers is not None:
            names = [*layers, *(layers.values() if isinstance(layers, Mapping) else ())]
            if not names or not all(isinstance(name, str) for name in names):
                raise ValueError(
                    "`layers` of SquareHead must be names of layers, or a dict of the "
                    f"student's to the teacher's. Received: layers={layers!r}"
                )
        self.layers = dict(layers) if isinstance(layers, Mapping) else layers
        self.epsilon = real("epsilon", epsilon)
        if self.epsilon <= 0:
            raise ValueError(
                f"`epsilon` must be positive. Received: epsilon={epsilon!r}"
            )

    def compute_loss(
        self, teacher_outputs: Any, student_outputs: Any, **kwargs: Any
    ) -> Any:
        """Returns the loss, a scalar.

        Args:
            teacher_outputs: a structure of features; each tensor in it is a layer's.
            student_outputs: the same of the student.
            **kwargs: not used.
        """
        total = ops.zeros((), "float32")
        for teacher, student, mask in _pairs(teacher_outputs, student_outputs):
            missed = _mean(ops.square(student - teacher), mask)
            total = total + missed / (_mean(ops.square(teacher), mask) + self.epsilon)
        return total


def _pairs(teacher: Any, student: Any) -> list[tuple[Any, Any, Any]]:
    """Returns each tensor of the teacher, that of the student, and its mask, float32.

    No gradient flows to the teacher.
    """
    theirs, ours = tree.flatten(teacher), tree.flatten(student)
    return [
        (ops.stop_gradient(ops.cast(t, "float32")), ops.cast(s, "float32"), mask_of(s))
        for t, s in zip(theirs, ours, strict=True)
    ]


def _mean(values: Any, mask: Any) -> Any:
    """Returns the mean of what a mask of the first axes lets count; all without."""
    if mask is None:
        return ops.mean(values)
    weights = ops.cast(mask, values.dtype)
    rest = len(values.shape) - len(weights.shape)
    weights = ops.reshape(weights, (*ops.shape(weights), *[1] * rest))
    weights = ops.broadcast_to(weights, ops.shape(values))
    counted = ops.sum(weights)
    return ops.sum(values * weights) / ops.maximum(counted, 1.0)
