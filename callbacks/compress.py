"""The base of all compression callbacks: a recipe on the clock of `fit`."""

import math
import warnings
from typing import Any

import keras

from qsparse.compressor import attach
from qsparse.keras_compat import (
    batches_per_update,
    iterations_of,
    sync_variables,
)
from qsparse.phases import Phases
from qsparse.recipe import Recipe
from qsparse.report import Coverage


class Compress(keras.callbacks.Callback):
    """Compresses the model while it trains, as its recipe says.

    The clock is the optimizer's iteration count, which every Keras checkpoint
    carries; a training that `BackupAndRestore` resumes therefore goes on with
    the same masks, ranges and phases, bit for bit.

    A recipe is carried out once. Fitting on trains the compressed model, with its
    masks frozen; `qsparse.strip` it to start over.

    Adds `phase` (0 dense, 1 sparse, 2 quantized, 3 both), `sparsity` and
    `mask_flips` (share of mask bits that the last selection changed) to `logs`.
    Keras hands one `logs` to its callbacks in order, so list `CSVLogger` and
    `TensorBoard` after this callback; and list `EarlyStopping` before it, so that
    it can warn if the weights that are restored come from before a phase.

    Args:
        recipe: what to do; see `qsparse.Recipe`.

    Attributes:
        coverage: the `qsparse.Coverage` of the model, from the start of `fit`.
    """

    def __init__(self, recipe: Recipe) -> None:
        super().__init__()
        self.recipe = recipe
        self.coverage: Coverage | None = None
        self._phases: Phases | None = None
        self._origin: tuple[int, int] | None = None

    def set_model(self, model: keras.Model) -> None:
        """Attach the recipe, if the model is built.

        This happens before any callback's `on_train_begin`, so that
        `BackupAndRestore` finds the state it has to restore. A subclassed model
        that was never called is built by its first batch, and attached after it.
        """
        super().set_model(model)
        self._phases = None
        self._origin = None
        if model.built:
            self.coverage = attach(model, self.recipe)

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Note where this training begins; start the clock if all is built."""
        if self._origin is None:
            self._origin = (self._iteration(), epoch)
        if self._phases is None and self.model.built:
            self._start()

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Select masks and switch phases before the step that uses them."""
        if self._phases is not None:
            sync_variables(self.model)
            if self._phases.step(self._iteration()):
                self.model.make_train_function(force=True)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Show sparsity and phase; stop at a loss that is not a number."""
        loss = (logs or {}).get("loss", 0.0)
        if not math.isfinite(loss):
            sync_variables(self.model)
            raise ValueError(
                f"The loss is {loss} at step {self._iteration()} of model "
                f"'{self.model.name}'. Lower the learning rate, clip gradients, or "
                "look for NaN in the data."
            )
        if self._phases is None:
            sync_variables(self.model)
            self.coverage = attach(self.model, self.recipe)
            self.model.make_train_function(force=True)
            self._start()
        self._show(logs)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Put sparsity and phase into the epoch's logs."""
        self._show(logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Refresh the coverage; warn if the recipe was not carried out."""
        sync_variables(self.model)
        self.coverage = attach(self.model, self.recipe)
        unfinished = self._phases.unfinished() if self._phases else None
        if unfinished:
            warnings.warn(unfinished, stacklevel=2)

    def _start(self) -> None:
        """Start the clock, unless an earlier fit or a checkpoint did."""
        phases = Phases(self.model)
        iteration, epoch = self._origin
        phases.start(iteration, self._steps_to_come(epoch))
        self._phases = phases

    def _show(self, logs: dict | None) -> None:
        if logs is not None and self._phases is not None:
            logs.update(self._phases.logs())

    def _iteration(self) -> int:
        return iterations_of(self.model.optimizer)

    def _steps_to_come(self, first_epoch: int) -> int:
        steps: Any = self.params.get("steps")
        if steps is None:
            if not self.recipe.needs_total_steps():
                return 0
            raise ValueError(
                "The recipe gives phases as shares of training, but the length of "
                "an epoch is unknown. Pass steps_per_epoch to fit, or give "
                "prune_from, prune_until and quantize_from as steps (integers)."
            )
        batches = (self.params["epochs"] - first_epoch) * steps
        return batches // batches_per_update(self.model.optimizer)
