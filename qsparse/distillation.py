"""Distillation: a student that is compressed while it learns from a float teacher."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import ops, tree
from keras.distillation import DistillationLoss

from qsparse.distillation_checks import check_logits, check_losses, check_models
from qsparse.distillation_features import Compared, by_path
from qsparse.distillation_losses import SoftLabels
from qsparse.keras_compat import compiled_loss, compiled_with, outputs_recorded
from qsparse.methods.validate import real


class Distiller(keras.Model):
    """Trains a student on labels and on what its teacher says of each batch.

    The loss of a step is

        hard_weight * (the student's compiled loss, with sample and class weights)
        + sum of weights[i] * losses[i](teacher, student)
        + what the student's layers add to the loss

    The last line is where SR-STE and other estimators act. `keras.distillation`'s own
    Distiller leaves it out, and sample weights too, and calls the student once more for
    its features. Here features are recorded in the one call whose outputs the loss
    sees: they are those of the student as it is in that step, pruned and
    fake-quantized.

    `fit`, `evaluate` and `predict` are those of Keras. What is saved is the student:
    `save`, `save_weights` and `load_weights` are its own, so `ModelCheckpoint` writes
    files that `qsparse.load_model` opens, and `BackupAndRestore` resumes with a teacher
    that is given anew. Callbacks of `qsparse.callbacks` compress the student, with
    paths and rules as in it alone.

    Logs `hard_loss` and `distillation_loss`, the two sums before the third is added.

    Args:
        student: a compiled, built model.
        teacher: a built model with the same inputs; it is frozen for good
            (`trainable = False`) and computes as in inference.
        losses: what compares the two, each as of `distill`.
        weights: as many factors, not negative.
        hard_weight: the factor of the compiled loss, not negative.
    """

    def __init__(
        self,
        student: keras.Model,
        teacher: keras.Model,
        losses: Sequence[DistillationLoss],
        weights: Sequence[float],
        hard_weight: float,
    ) -> None:
        super().__init__(name="distiller")
        self.student = student
        self.teacher = teacher
        teacher.trainable = False
        self.hard_weight = hard_weight
        self._compared = [
            Compared.of(loss, weight, student, teacher)
            for loss, weight in zip(losses, weights, strict=True)
        ]
        self._of_student = by_path(student, [c.of_student for c in self._compared])
        self._of_teacher = by_path(teacher, [c.of_teacher for c in self._compared])
        self._last = _Recorded()
        self.hard_loss_tracker = keras.metrics.Mean("hard_loss")
        self.distillation_loss_tracker = keras.metrics.Mean("distillation_loss")
        self.built = True

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns the student's outputs."""
        with outputs_recorded(self._of_student) as seen:
            outputs = self.student(inputs, training=training)
        self._last.outputs, self._last.seen = outputs, seen
        return outputs

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> Any:
        """Returns the loss of a step, a scalar; see the class."""
        added = [ops.sum(ops.cast(loss, "float32")) for loss in self.losses]
        hard = ops.zeros((), "float32")
        if self.hard_weight > 0:
            found = compiled_loss(self, y, y_pred, sample_weight)
            hard = hard + self.hard_weight * ops.cast(found, "float32")
        soft = self._distillation(x, y_pred, training)
        self.hard_loss_tracker.update_state(hard)
        self.distillation_loss_tracker.update_state(soft)
        return hard + soft + sum(added)

    def _distillation(self, x: Any, y_pred: Any, training: bool) -> Any:
        if not _same(self._last.outputs, y_pred) and self._of_student:
            # As where Keras builds a model symbolically: a trace for each function.
            self(x, training=training)
        ours = self._last.seen
        self._last.outputs, self._last.seen = None, {}
        with outputs_recorded(self._of_teacher) as theirs:
            expected = self.teacher(x, training=False)
        total = ops.zeros((), "float32")
        for compared in self._compared:
            teacher, student = compared.taken(expected, y_pred, theirs, ours)
            loss = compared.loss.compute_loss(teacher, student)
            total = total + compared.weight * ops.cast(loss, "float32")
        return total

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Returns the logs of a step; the student's metrics need labels."""
        if y is None:
            return self.get_metrics_result()
        return super().compute_metrics(x, y, y_pred, sample_weight)

    def get_metrics_result(self) -> dict[str, Any]:
        """Returns what the metrics show; before there were labels, the losses."""
        built = [m for m in self.metrics if getattr(m, "built", True)]
        if len(built) < len(self.metrics):
            return {m.name: m.result() for m in built}
        return super().get_metrics_result()

    def save(self, *args: Any, **kwargs: Any) -> Any:
        """Saves the student."""
        return self.student.save(*args, **kwargs)

    def save_weights(self, *args: Any, **kwargs: Any) -> Any:
        """Saves the student's weights, with the optimizer that both share."""
        return self.student.save_weights(*args, **kwargs)

    def load_weights(self, *args: Any, **kwargs: Any) -> Any:
        """Loads weights into the student."""
        return self.student.load_weights(*args, **kwargs)


class _Recorded:
    """What a student's layers returned in its last call, by path, and its outputs.

    An object of its own, for Keras would track a structure as state.
    """

    def __init__(self) -> None:
        self.outputs: Any = None
        self.seen: dict[str, list[Any]] = {}


def distill(
    student: keras.Model,
    teacher: keras.Model,
    losses: DistillationLoss | Sequence[DistillationLoss] | None = None,
    *,
    weights: Sequence[float] | None = None,
    hard_weight: float = 1 / 3,
) -> Distiller:
    """Returns a compiled model whose `fit` teaches a student, and compresses it.

    It trains as the student was compiled: with its optimizer (the same object, so that
    the student may be fitted on alone), loss and metrics. Take the student itself
    afterwards, to `evaluate`, save and export it.

    Args:
        student: a compiled, built model. Functional, Sequential or subclassed; it may
            carry a recipe.
        teacher: a built model with the same inputs, and with outputs alike. It is
            frozen for good, stays in float and is never compressed.
        losses: what is added to the student's own loss: `qsparse.SoftLabels`,
            `qsparse.SquareHead`, or any loss of `keras.distillation`. None:
            `SoftLabels()`, with temperature 2. Features are the outputs of layers in
            the call that the step makes, also of subclassed and nested models; what is
            no layer, as a bare `+`, cannot be named.
        weights: a factor for each loss, not negative. None: 1 - `hard_weight` each.
        hard_weight: the factor of the student's compiled loss, in [0, 1]; 0 needs no
            labels. The default, with `SoftLabels` at temperature 2, is what sparse
            trainings of language models use (AST).

    Raises:
        ValueError: if one of them is no such model, both are the same or share layers,
            their inputs differ, the teacher carries a recipe, a named layer does not
            exist, a factor is out of range, or `SoftLabels` is to compare outputs that
            are no logits.

    Example:
    ```python
    distiller = qsparse.distill(student, teacher)
    distiller.fit(x, y, epochs=10, callbacks=[PruneThenQuantize()])
    qsparse.export(student, "student.tflite", representative_data=x[:200])
    ```
    """
    check_models(student, teacher)
    hard = real("hard_weight", hard_weight)
    if not 0 <= hard <= 1:
        raise ValueError(
            f"`hard_weight` must be in [0, 1]. Received: hard_weight={hard_weight!r}"
        )
    if losses is None:
        losses = [SoftLabels()]
    listed = list(losses) if isinstance(losses, Sequence) else [losses]
    factors = [1 - hard] * len(listed) if weights is None else list(weights)
    check_losses(listed, factors)
    settings = compiled_with(student)
    if hard > 0 and settings["loss"] is None:
        raise ValueError(
            f"Student '{student.name}' was compiled without a loss. Compile it with "
            "one, or give hard_weight=0."
        )
    if any(isinstance(loss, SoftLabels) for loss in listed):
        for who, model in (("Student", student), ("Teacher", teacher)):
            check_logits(who, model)
    distiller = Distiller(student, teacher, listed, factors, hard)
    distiller.compile(**settings)
    return distiller


def student_of(model: keras.Model) -> keras.Model:
    """Returns the model that a recipe is for: of a distiller its student.

    Raises:
        ValueError: if it is Keras' own distiller, in which estimators do not act.
    """
    if isinstance(model, keras.distillation.Distiller):
        raise ValueError(
            "keras.distillation.Distiller leaves out of its loss what layers add to "
            "it, by which SR-STE and other estimators act. Train with "
            "qsparse.distill(student, teacher), which takes the same losses."
        )
    return model.student if isinstance(model, Distiller) else model


def _same(outputs: Any, others: Any) -> bool:
    """Returns whether these are the same tensors."""
    ours, theirs = tree.flatten(outputs), tree.flatten(others)
    return len(ours) == len(theirs) and all(
        a is b for a, b in zip(ours, theirs, strict=True)
    )
