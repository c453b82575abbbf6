"""Whether one model can learn from another, by these losses."""

from typing import Any

import keras
from keras import tree
from keras.distillation import DistillationLoss, LogitsDistillation

from qsparse.distillation_features import agree
from qsparse.engine.state import state_of
from qsparse.keras_compat import output_layers
from qsparse.methods.validate import real


def check_models(student: Any, teacher: Any) -> None:
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
    if ours is not None and expected is not None and not agree(ours, expected):
        raise ValueError(
            f"Student '{student.name}' and teacher '{teacher.name}' see the same "
            "batches, but their inputs differ. Student: "
            f"{ours}; teacher: {expected}."
        )


def _inputs(model: keras.Model) -> list[tuple[int | None, ...]] | None:
    """Returns the shapes of a model's inputs; None if no graph tells."""
    inputs = getattr(model, "inputs", None)
    return None if inputs is None else [tuple(x.shape) for x in tree.flatten(inputs)]


def check_losses(losses: list[Any], weights: list[Any]) -> None:
    """Raises if these are no losses of distillation with a factor each."""
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


def check_logits(who: str, model: keras.Model) -> None:
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
