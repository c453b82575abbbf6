"""What distillation compares: outputs of models, or of layers in pairs."""

from difflib import get_close_matches
from typing import Any, NamedTuple

import keras
from keras import tree
from keras.distillation import DistillationLoss, FeatureDistillation

from qsparse.distillation_losses import SquareHead
from qsparse.keras_compat import saved_paths, walk_layers
from qsparse.planning.targets import QUANTIZABLE

# How many names an error lists where none is near.
_SHOWN = 8


class Compared(NamedTuple):
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

    @classmethod
    def of(
        cls,
        loss: DistillationLoss,
        weight: float,
        student: keras.Model,
        teacher: keras.Model,
    ) -> "Compared":
        """Returns a loss with the layers that it names found in both models.

        Raises:
            ValueError: if a layer does not exist, or a name is not one layer's alone;
                or if `SquareHead` is to find pairs of models that are not alike.
        """
        return cls(loss, weight, *_features(loss, student, teacher))

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
            if not agree(*shapes):
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


def agree(ours: Any, theirs: Any) -> bool:
    """Returns whether lists of shapes are alike, as far as they are known."""
    return len(ours) == len(theirs) and all(
        len(a) == len(b)
        and all(m == n or None in (m, n) for m, n in zip(a, b, strict=True))
        for a, b in zip(ours, theirs, strict=True)
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


def by_path(
    model: keras.Model, wanted: list[tuple[str, ...] | None]
) -> dict[str, keras.layers.Layer]:
    """Returns path -> layer, of all the paths that are wanted."""
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


def _listed(shapes: list[tuple[int | None, ...]]) -> str:
    return " and ".join(map(str, shapes))
