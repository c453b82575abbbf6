"""One run of a study: a network is trained, compressed on the way, and judged."""

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import qsparse
from qsparse.callbacks import Compress
from qsparse.recipes.evaluate import predict
from qsparse.recipes.study.methods import SCRATCH, TRAINED, Method
from qsparse.recipes.study.tasks import Labelled, Task
from qsparse.tflite_export.files.quiet import quiet
from qsparse.tflite_export.runtime.interpreter import plain_interpreter

# What a method sees to select masks by, and one-shot methods to solve with.
_SEEN = 512


@dataclass(frozen=True)
class Setting:
    """How long and where.

    Attributes:
        folder: keeps the dense weights that runs start from.
        share: of the samples to train on.
        epochs: of each call of `fit`; None for the task's own.
    """

    folder: Path
    share: float = 1.0
    epochs: int | None = None


class Trainer:
    """Trains one network with one seed.

    The same seed sees the same first weights and, from the warm-up on, the same order
    of the samples, whatever the method.

    Args:
        network: its name in `TASKS`, for the files.
        task: what to train.
        seed: not negative.
        setting: how long.
    """

    def __init__(self, network: str, task: Task, seed: int, setting: Setting) -> None:
        self._task, self._seed, self._setting = task, seed, setting
        (self._x, self._y), self._test = task.samples(setting.share)
        self._name = f"{network}-{seed}"
        self._warm_up = setting.epochs or task.warm_up
        self._finish = setting.epochs or task.finish

    def run(self, method: Method, recipe: qsparse.Recipe | None) -> dict[str, Any]:
        """Trains and judges.

        Args:
            method: how; its settings are in `recipe`.
            recipe: what to do; None for a dense float network.

        Returns:
            `accuracy` on the test images in [0, 1], of the exported file where the
            recipe quantizes; `keras_accuracy`; `zeros`, the share of zeros of all
            pruned weights; and `steps`.
        """
        if recipe is None:
            model = self._model()
            model.load_weights(self._dense())
        else:
            model = self._compressed(method, recipe)
        found = {
            "keras_accuracy": self.judged(model)["accuracy"],
            "zeros": _zeros(model, recipe),
            "steps": self._steps(self._warm_up) + self._steps(self._finish),
        }
        quantizes = recipe is not None and recipe.quantizes
        found["accuracy"] = (
            self._of_file(model) if quantizes else found["keras_accuracy"]
        )
        return found

    @property
    def seen(self) -> Labelled:
        """Some of the training data and their labels, for what needs to see data."""
        x = keras.tree.map_structure(lambda array: array[:_SEEN], self._x)
        return x, self._y[:_SEEN]

    def judged(self, model: keras.Model) -> dict[str, float]:
        """Returns `accuracy` in [0, 1] and `loss` (cross-entropy) on test data."""
        x, y = self._test
        logits = model.predict(x, batch_size=200, verbose=0).astype(np.float64)
        logits -= logits.max(axis=-1, keepdims=True)
        right = np.take_along_axis(logits, y[..., np.newaxis], axis=-1)[..., 0]
        return {
            "accuracy": float((logits.argmax(axis=-1) == y).mean()),
            "loss": float((np.log(np.exp(logits).sum(axis=-1)) - right).mean()),
        }

    def dense(self) -> keras.Model:
        """Returns the network that was trained dense to the end."""
        model = self._model()
        model.load_weights(self._dense())
        return self._task.compile(model, self._finish, len(self._y))

    def sparse(self, recipe: qsparse.Recipe, name: str) -> keras.Model:
        """Returns the network that a recipe pruned in its second part, as plain Keras.

        Args:
            recipe: one that only prunes.
            name: for the file of its weights.
        """

        def make() -> keras.Model:
            return qsparse.strip(self.compressed(recipe))

        model = self._model()
        model.load_weights(self._kept(f"sparse-{name}", make))
        return self._task.compile(model, self._finish, len(self._y))

    def compressed(self, recipe: qsparse.Recipe) -> keras.Model:
        """Returns the network that carried out a recipe in its second part."""
        return self._compressed(Method(), recipe)

    def _model(self) -> keras.Model:
        keras.utils.set_random_seed(self._seed)
        return self._task.build()

    def _compressed(self, method: Method, recipe: qsparse.Recipe) -> keras.Model:
        model = self._model()
        if method.start == TRAINED:
            model.load_weights(self._dense())
            self._prune_at_once(model, method, recipe)
            return model
        epochs = self._finish
        if method.start == SCRATCH:
            epochs += self._warm_up
        else:
            model.load_weights(self._warm())
        if method.one_shot is not None:
            self._prune_at_once(model, method, recipe)
        seen = self.seen if method.sees else None
        callback = Compress(
            recipe,
            total_steps=self._steps(epochs),
            score_data=seen,
        )
        if method.start == SCRATCH:
            self._fit(model, self._warm_up, callbacks=[callback])
        self._fit(model, self._finish, callbacks=[callback], taught=method.distilled)
        return model

    def _prune_at_once(
        self, model: keras.Model, method: Method, recipe: qsparse.Recipe
    ) -> None:
        data, _ = self.seen
        qsparse.one_shot(model, recipe, data, method.one_shot, verbose=0)

    def _fit(
        self,
        model: keras.Model,
        epochs: int,
        callbacks: list[Any] | None = None,
        taught: bool = False,
    ) -> None:
        self._task.compile(model, epochs, len(self._y))
        pupil: Any = model
        if taught:
            teacher = self._task.build()
            teacher.load_weights(self._dense())
            pupil = qsparse.distill(model, teacher)
        # Shuffles and dropout go on from here, alike for every method.
        keras.utils.set_random_seed(1000 + self._seed)
        pupil.fit(
            self._x,
            self._y,
            batch_size=self._task.batch,
            epochs=epochs,
            callbacks=callbacks,
            verbose=0,
        )

    def _steps(self, epochs: int) -> int:
        return epochs * -(-len(self._y) // self._task.batch)

    def _warm(self) -> Path:
        """Returns the weights after the dense warm-up."""

        def make() -> keras.Model:
            model = self._model()
            self._fit(model, self._warm_up)
            return model

        return self._kept("warm", make)

    def _dense(self) -> Path:
        """Returns the weights of the network that was trained dense to the end."""

        def make() -> keras.Model:
            model = self._model()
            model.load_weights(self._warm())
            self._fit(model, self._finish)
            return model

        return self._kept("dense", make)

    def _kept(self, stage: str, make: Callable[[], keras.Model]) -> Path:
        """Returns a file of weights, which is made whole or not at all."""
        path = self._setting.folder / f"{self._name}-{stage}.weights.h5"
        if not path.exists():
            part = path.with_name(f"part-{os.getpid()}-{path.name}")
            path.parent.mkdir(parents=True, exist_ok=True)
            make().save_weights(part)
            part.replace(path)
        return path

    def _of_file(self, model: keras.Model) -> float:
        """Returns the accuracy of the exported int8 file."""
        x, y = self._test
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "model.tflite"
            with quiet():
                qsparse.export(model, path, representative_data=self.seen[0])
            return predict(plain_interpreter(path), x).accuracy(y)


def _zeros(model: keras.Model, recipe: qsparse.Recipe | None) -> float:
    if recipe is None or not recipe.prunes:
        return 0.0
    return float(qsparse.coverage(model).sparsity)
