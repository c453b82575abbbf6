"""Distillation: a student that is compressed while it learns from a float teacher."""

from collections.abc import Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import keras
from keras import ops, tree
from keras.distillation import (
    DistillationLoss,
    FeatureDistillation,
    LogitsDistillation,
)

from qsparse.distillation_losses import SoftLabels, SquareHead
from qsparse.engine.state import state_of
from qsparse.keras_compat import (
    compiled_loss,
    compiled_with,
    output_layers,
    outputs_recorded,
    saved_paths,
    walk_layers,
)
from qsparse.methods.validate import real
from qsparse.planning.targets import QUANTIZABLE

# How many names an error lists where none is near.
_SHOWN = 8


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
            _Compared(loss, weight, *_features(loss, student, teacher))
            for loss, weight in zip(losses, weights, strict=True)
        ]
        self._of_student = _by_path(student, [c.of_student for c in self._compared])
        self._of_teacher = _by_path(teacher, [c.of_teacher for c in self._compared])
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


class _Compared(NamedTuple):
    """A loss, and what it compares.

    Attributes:
        loss: the loss.
        weight: its factor.
        of_student: paths of the student's layers whose outputs it sees; None: the
            model's own outputs.
        of_teacher: the same of the teacher; as many.
    """

    loss: DistillationLoss
    weight: float
    of_student: tuple[str, ...] | None
    of_teacher: tuple[str, ...] | None

    def taken(
        self,
        expected: Any,
        y_pred: Any,
        theirs: dict[str, list[Any]],
        ours: dict[str, list[Any]],
    ) -> tuple[Any, Any]:
        """Returns what the loss compares: of the teacher, and of the student.

        Args:
            expected: the teacher's outputs.
            y_pred: the student's.
            theirs: what the teacher's layers returned, by path.
            ours: the same of the student.

        Raises:
            ValueError: if a layer was not called, or shapes differ.
        """
        teacher = _taken("teacher", self.of_teacher, expected, theirs)
        student = _taken("student", self.of_student, y_pred, ours)
        for place, (t, s) in enumerate(zip(teacher, student, strict=True)):
            shapes = [[tuple(x.shape) for x in tree.flatten(side)] for side in (t, s)]
            if not _agree(*shapes):
                raise ValueError(
                    f"{type(self.loss).__name__} compares {self._name(place)}, but "
                    f"their outputs have the shapes {_listed(shapes[1])} and "
                    f"{_listed(shapes[0])}. Name pairs of layers that agree."
                )
        if isinstance(self.loss, SquareHead):
            return teacher, student
        return teacher[0], student[0]

    def _name(self, place: int) -> str:
        names = [
            "the outputs" if paths is None else f"layer '{paths[place]}'"
            for paths in (self.of_student, self.of_teacher)
        ]
        return f"{names[0]} of the student and {names[1]} of the teacher"


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
    _check_models(student, teacher)
    hard = real("hard_weight", hard_weight)
    if not 0 <= hard <= 1:
        raise ValueError(
            f"`hard_weight` must be in [0, 1]. Received: hard_weight={hard_weight!r}"
        )
    if losses is None:
        losses = [SoftLabels()]
    listed = list(losses) if isinstance(losses, Sequence) else [losses]
    factors = [1 - hard] * len(listed) if weights is None else list(weights)
    _check_losses(listed, factors)
    settings = compiled_with(student)
    if hard > 0 and settings["loss"] is None:
        raise ValueError(
            f"Student '{student.name}' was compiled without a loss. Compile it with "
            "one, or give hard_weight=0."
        )
    if any(isinstance(loss, SoftLabels) for loss in listed):
        for who, model in (("Student", student), ("Teacher", teacher)):
            _check_logits(who, model)
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


def _check_models(student: Any, teacher: Any) -> None:
    """Raises if one cannot learn from the other."""
    for who, model in (("student", student), ("teacher", teacher)):
        if not isinstance(model, keras.Model):
            raise ValueError(f"The {who} must be a keras.Model. Received: {model!r}")
        if not model.built:
            raise ValueError(
                f"The {who}, '{model.name}', is not built. Call it on a batch of data, "
                "or give it an Input, first."
            )
    if student is teacher:
        raise ValueError(
            f"Student and teacher are the same model, '{student.name}'. Train the "
            "teacher, then make the student: keras.models.clone_model(teacher), with "
            "student.set_weights(teacher.get_weights()) to start from it."
        )
    theirs = {id(variable) for variable in teacher.variables}
    shared = [v.path for v in student.variables if id(v) in theirs]
    if shared:
        raise ValueError(
            f"Student '{student.name}' and teacher '{teacher.name}' share variables, "
            f"as {shared[0]}: freezing the teacher would freeze them. Clone the "
            "teacher."
        )
    if state_of(teacher) is not None:
        raise ValueError(
            f"Teacher '{teacher.name}' carries a recipe. A teacher computes in float, "
            "with the weights it has: qsparse.strip(teacher), or load the dense model."
        )
    if not getattr(student, "compiled", False):
        raise ValueError(
            f"Student '{student.name}' is not compiled, so nobody knows its optimizer "
            "and loss. Compile it first."
        )
    ours, expected = (_inputs(model) for model in (student, teacher))
    if ours is not None and expected is not None and not _agree(ours, expected):
        raise ValueError(
            f"Student '{student.name}' and teacher '{teacher.name}' see the same "
            "batches, but their inputs differ. Student: "
            f"{ours}; teacher: {expected}."
        )


def _inputs(model: keras.Model) -> list[tuple[int | None, ...]] | None:
    """Returns the shapes of a model's inputs; None if no graph tells."""
    inputs = getattr(model, "inputs", None)
    return None if inputs is None else [tuple(x.shape) for x in tree.flatten(inputs)]


def _agree(ours: Any, theirs: Any) -> bool:
    """Returns whether lists of shapes are alike, as far as they are known."""
    return len(ours) == len(theirs) and all(
        len(a) == len(b)
        and all(m == n or None in (m, n) for m, n in zip(a, b, strict=True))
        for a, b in zip(ours, theirs, strict=True)
    )


def _check_losses(losses: list[Any], weights: list[Any]) -> None:
    if len(weights) != len(losses) or not losses:
        raise ValueError(
            f"`weights` holds a factor for each loss. Received: {len(losses)} losses "
            f"and {len(weights)} weights."
        )
    for loss in losses:
        if not isinstance(loss, DistillationLoss):
            raise ValueError(
                "`losses` holds qsparse.SoftLabels(), qsparse.SquareHead() or losses "
                f"of keras.distillation. Received: {loss!r}"
            )
        functions = tree.flatten(loss.loss) if hasattr(loss, "loss") else []
        if isinstance(loss, LogitsDistillation) and any(
            function is keras.losses.kl_divergence for function in functions
        ):
            raise ValueError(
                "keras.distillation.LogitsDistillation takes logits for probabilities "
                "where its loss is 'kl_divergence', and clips them to [0, 1]. Take "
                f"qsparse.SoftLabels(temperature={loss.temperature}), or give it "
                "loss=keras.losses.KLDivergence()."
            )
    for weight in weights:
        if real("weights", weight) < 0:
            raise ValueError(
                f"`weights` must not be negative. Received: weights={weights!r}"
            )


def _check_logits(who: str, model: keras.Model) -> None:
    """Raises if a model, as far as its graph tells, returns probabilities."""
    for layer in output_layers(model):
        function = getattr(layer, "activation", None)
        squashes = function in (keras.activations.softmax, keras.activations.sigmoid)
        if squashes or isinstance(layer, keras.layers.Softmax):
            raise ValueError(
                f"{who} '{model.name}' returns probabilities, of layer "
                f"'{layer.name}', and SoftLabels divides logits by a temperature. Let "
                "it return logits, with a loss that has from_logits=True."
            )


def _features(
    loss: DistillationLoss, student: keras.Model, teacher: keras.Model
) -> tuple[tuple[str, ...] | None, tuple[str, ...] | None]:
    """Returns the paths of the layers that a loss compares; None for the outputs."""
    if isinstance(loss, SquareHead):
        pairs = _pairs(loss, student, teacher)
        ours, theirs = zip(*pairs, strict=True)
        return ours, theirs
    if not isinstance(loss, FeatureDistillation):
        return None, None
    ours, theirs = loss.student_layer_name, loss.teacher_layer_name
    return (
        None if ours is None else (_path("Student", student, ours),),
        None if theirs is None else (_path("Teacher", teacher, theirs),),
    )


def _pairs(
    loss: SquareHead, student: keras.Model, teacher: keras.Model
) -> list[tuple[str, str]]:
    """Returns the paths of each student's layer and its teacher's."""
    if loss.layers is not None:
        named = loss.layers
        pairs = named if isinstance(named, dict) else {name: name for name in named}
        return [
            (_path("Student", student, ours), _path("Teacher", teacher, theirs))
            for ours, theirs in pairs.items()
        ]
    ours, theirs = (_kernels(model) for model in (student, teacher))
    if ours.keys() != theirs.keys() or not ours:
        raise ValueError(
            f"Student '{student.name}' and teacher '{teacher.name}' are not made of "
            f"the same layers: {len(ours)} and {len(theirs)} have kernels. Name which "
            'to compare: SquareHead({"student_layer": "teacher_layer"}).'
        )
    return [(path, theirs[place]) for place, path in ours.items()]


def _kernels(model: keras.Model) -> dict[str, str]:
    """Returns where each layer with a kernel lies in a file -> its path."""
    places = {id(layer): place for place, layer in saved_paths(model)}
    return {
        places[id(layer)]: path
        for path, layer in walk_layers(model)
        if isinstance(layer, QUANTIZABLE)
    }


def _path(who: str, model: keras.Model, name: str) -> str:
    """Returns the path of a layer that is named by its path, or its name alone."""
    paths = [path for path, _ in walk_layers(model)]
    if name in paths:
        return name
    found = [path for path in paths if path.rpartition("/")[2] == name]
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(
            f"{who} '{model.name}' has {len(found)} layers '{name}': "
            f"{', '.join(found[:_SHOWN])}. Give the path of one."
        )
    names = {path.rpartition("/")[2]: path for path in reversed(paths)}
    near = get_close_matches(name, [*paths, *names], 5, 0.5)
    near = list(dict.fromkeys(names.get(each, each) for each in near))
    raise ValueError(
        f"{who} '{model.name}' has no layer '{name}'. "
        + (f"The nearest are {', '.join(near)}." if near else "")
        + ("" if near else f"It has {', '.join(paths[:_SHOWN])}.")
    )


def _by_path(
    model: keras.Model, wanted: list[tuple[str, ...] | None]
) -> dict[str, keras.layers.Layer]:
    layers = dict(walk_layers(model))
    return {path: layers[path] for paths in wanted for path in paths or ()}


def _taken(
    who: str, paths: tuple[str, ...] | None, outputs: Any, seen: dict[str, list[Any]]
) -> list[Any]:
    """Returns the outputs of each path, of all its calls; of None the model's."""
    if paths is None:
        return [outputs]
    for path in paths:
        if not seen[path]:
            raise ValueError(
                f"Layer '{path}' of the {who} was not called in the step, or only "
                "inside of what hides it, so it has no features. Name another."
            )
    return [seen[p][0] if len(seen[p]) == 1 else seen[p] for p in paths]


def _same(outputs: Any, others: Any) -> bool:
    """Returns whether these are the same tensors."""
    ours, theirs = tree.flatten(outputs), tree.flatten(others)
    return len(ours) == len(theirs) and all(
        a is b for a, b in zip(ours, theirs, strict=True)
    )


def _listed(shapes: list[tuple[int | None, ...]]) -> str:
    return " and ".join(map(str, shapes))
