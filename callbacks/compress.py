"""The base of all compression callbacks: a recipe on the clock of `fit`."""

import math
import warnings
from typing import Any

import keras

from qsparse.callbacks.arguments import (
    check_baseline,
    check_guard,
    check_recipe,
    check_score_data,
    check_totals,
)
from qsparse.callbacks.best_files import BestFiles
from qsparse.callbacks.guard import Guard, Watch
from qsparse.distillation import student_of
from qsparse.engine.compressor import attach
from qsparse.engine.coverage import Coverage, coverage
from qsparse.engine.phases import Phases, report_unfinished, unfinished
from qsparse.engine.state import state_of
from qsparse.keras_compat import (
    drop_compiled_functions,
    fit_validates,
    fit_validation_data,
    running_callbacks,
    sync_variables,
    walk_layers,
)
from qsparse.measures.gauge import NOISE
from qsparse.measures.landing import landed
from qsparse.measures.landing_report import Landing
from qsparse.planning.recipe import Recipe
from qsparse.planning.targets import QUANTIZABLE


class Compress(keras.callbacks.Callback):
    """Compresses the model while it trains, as its recipe says.

    The clock counts the steps (batches) of `fit`, whatever optimizers they move, and
    lives in the model: a training that `BackupAndRestore` resumes goes on with the
    same masks, ranges and phases, bit for bit.

    A recipe is carried out once, in the first call of `fit`, or over several if
    `total_epochs` or `total_steps` says so. Fitting on trains the compressed model,
    with its masks frozen; `qsparse.strip` it to start over. A recipe may add to the
    one that was carried out: `Quantize()` in a second call of `fit` keeps the masks
    that `Prune()` found in the first.

    Adds `phase` (0 dense, 1 sparse, 2 quantized, 3 both), `sparsity` and
    `mask_flips` (share of mask bits that the last selection changed) to `logs`.
    Keras hands one `logs` to its callbacks in order, so list `CSVLogger` and
    `TensorBoard` after this callback.

    When all callbacks have ended, warns if the recipe was not carried out (weights
    that `EarlyStopping` restored may come from before a phase), if the best file of a
    `ModelCheckpoint` is from before it was, or if no weight moved; raises if the
    recipe is `strict`.

    Args:
        recipe: what to do; see `qsparse.Recipe`.
        total_steps: steps that shares of training are measured over, in this and
            the following calls of `fit` together. None: those of this call.
        total_epochs: the same in epochs, each as long as this call's.
        score_data: what the criterion sees at every selection of masks, if it asks for
            data, or may have it of data or of the steps: a tuple of arrays `(x, y)`, in
            batches of 32, an array `x`, a `tf.data.Dataset` or a
            `keras.utils.PyDataset` of batches. Some hundreds of rows of the training
            data are a good choice. The model computes as in a step of training, and is
            left as it was.
        guard: a `Guard`, which lets sparsity grow only while validation allows.
        baseline: a dense model of the same structure, trained and compiled, that
            `interaction` compares with, as the one that training starts from, saved
            and loaded.

    Raises:
        ValueError: if `recipe` is no `Recipe`, a total is not positive, or both are
            given; if `score_data` has no rows or no end, or the recipe does not prune;
            if `guard` or `baseline` is none, or does not go with the recipe.
        TypeError: if `score_data` is none of these forms.
    """

    def __init__(
        self,
        recipe: Recipe,
        *,
        total_steps: int | None = None,
        total_epochs: int | None = None,
        score_data: Any = None,
        guard: Guard | None = None,
        baseline: keras.Model | None = None,
    ) -> None:
        super().__init__()
        check_recipe(recipe)
        check_totals(total_steps, total_epochs)
        check_score_data(recipe, score_data)
        check_guard(recipe, guard)
        check_baseline(baseline)
        self.recipe = recipe
        self.guard = guard
        self.score_data = score_data
        self.baseline = baseline
        self.total_steps = total_steps
        self.total_epochs = total_epochs
        self._coverage: Coverage | None = None
        # What is compressed: the model that `fit` trains, or the student in it.
        self._subject: Any = None
        self._reset()

    def _reset(self) -> None:
        self._phases: Phases | None = None
        self._ended = False
        self._watch: Watch | None = None
        self._validates: bool | None = None
        self._validation_data: Any = None
        self._interaction: Landing | None = None
        self._files = BestFiles([])
        # What the model lacked when the last epoch ended.
        self._lacked: str | None = None
        self._first_epoch: int | None = None
        # Steps of this training: before this epoch, and all.
        self._before = self._done = 0
        # The last step, and its loss.
        self._loss: tuple[int, Any] = (0, 0.0)

    @property
    def coverage(self) -> Coverage | None:
        """The `qsparse.Coverage` of the model as it is now; None before `fit`.

        After `qsparse.strip`, the last one that was read.
        """
        if self._subject is not None and state_of(self._subject) is not None:
            self._coverage = coverage(self._subject)
        return self._coverage

    @property
    def interaction(self) -> Landing | None:
        """What rounding costs the sparse model that `fit` left, and which layers most.

        As `qsparse.landed` finds it, on at most 512 samples of what `fit` validated
        with, beside `baseline`; it is measured when first asked for. None before the
        end of `fit`, without validation or by a generator, which is used up, if the
        model was stripped before it was asked for, and where the recipe does not prune
        and quantize, or has not begun to round. The metric is the compiled loss;
        without labels, or if a model is not compiled, as a student, the noise of the
        outputs.
        """
        ready = self._ended and self._validation_data is not None
        state = state_of(self._subject) if ready else None
        if self._interaction is None and state is not None and state.fake_quantizes:
            models = [m for m in (self._subject, self.baseline) if m is not None]
            metric = None if all(model.compiled for model in models) else NOISE
            data = self._validation_data
            self._interaction = landed(
                self._subject, data, metric, baseline=self.baseline
            )
            self._validation_data = None
        return self._interaction

    def set_model(self, model: Any = None) -> None:
        """Attaches the recipe, if the model is built.

        This happens before any callback's `on_train_begin`, so that
        `BackupAndRestore` finds the state it has to restore. What the first batch
        builds is attached to after it.

        Raises:
            ValueError: if this is called on the class, or for two callbacks of the
                same `fit`; if `baseline` is the model; or as `qsparse.attach` does.
        """
        if not isinstance(self, Compress):
            raise ValueError(
                "callbacks=[...] holds a class of qsparse.callbacks. Give an instance, "
                "with parentheses: PruneThenQuantize()."
            )
        super().set_model(model)
        self._check_alone()
        self._reset()
        self._subject = student = student_of(model)
        if self.baseline is not None and self.baseline in (model, student):
            raise ValueError(
                "`baseline` is the model that fit trains, which will not stay dense. "
                "Save it before and load it for the baseline."
            )
        plain = state_of(student) is None
        if not plain or _is_built(student):
            self._attach()
        if plain:
            drop_compiled_functions(model)  # A distiller's, which hold its student.

    def _attach(self) -> None:
        attach(self._subject, self.recipe, score_data=self.score_data)
        state = state_of(self._subject)
        if self.guard is not None and self._watch is None and state is not None:
            # What it remembers has to be there before `BackupAndRestore` restores it.
            self._watch = Watch(self.guard, self._subject, state)

    def _check_alone(self) -> None:
        running = running_callbacks()
        beside = running.callbacks if running is not None else []
        ours = [type(c).__name__ for c in beside if isinstance(c, Compress)]
        if len(ours) > 1:
            raise ValueError(
                f"callbacks=[...] holds {' and '.join(ours)}, but a model carries one "
                "recipe at a time. To prune and quantize in one training take "
                "PruneThenQuantize(), QuantizeThenPrune() or Joint(); to do one after "
                "the other, call fit twice."
            )

    def on_train_begin(self, logs: dict | None = None) -> None:
        """Notes whether there is validation, and who writes files."""
        self._validates = fit_validates()
        if self.recipe.prunes and self.recipe.quantizes:
            self._validation_data = fit_validation_data()
        running = running_callbacks()
        self._files = BestFiles(running.callbacks if running else [])

    def on_test_end(self, logs: dict | None = None) -> None:
        """Shows a guard what a validation found, before any `on_epoch_end`."""
        if self._watch is not None:
            sync_variables(self.model)
            self._watch.judge(self.model, logs or {})

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        """Notes where this training begins; starts the clock if all is attached."""
        self._files.look(self._lacked)
        self._before = self._done
        if self._first_epoch is None:
            self._first_epoch = epoch
            if state_of(self._subject) is not None:
                self._start()

    def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
        """Selects masks and switches phases before the step that uses them."""
        if self._phases is not None:
            done = self._before + batch
            if self._phases.due(done):
                self._check_loss()
            self._phases.step(done)
            self._phases.set_fitting(True)

    def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
        """Shows sparsity and phase; stops at a loss that is not a number."""
        if self._phases is not None:
            self._phases.set_fitting(False)
        # The loss of the step before: to ask for this one's would make us wait for it.
        self._check_loss()
        self._loss = self._before + batch + 1, (logs or {}).get("loss", 0.0)
        first = self._done == 0
        # The last of several steps in one execution may lie beyond the epoch.
        self._done = self._before + min(batch + 1, self._epoch_length(batch))
        if first:
            self._attach_to_what_was_built()
        if batch + 1 >= self._epoch_length(batch):
            # Before any callback's `on_epoch_end`, wherever it stands in the list.
            self._check_loss()
            if self._phases is not None:
                self._phases.store_time()
        self._show(logs)

    def _check_loss(self) -> None:
        """Raises if the last loss that we know of is not a number."""
        step, loss = self._loss
        if not math.isfinite(loss):
            sync_variables(self.model)
            raise ValueError(
                f"The loss is {loss} at step {step} of model '{self.model.name}'. "
                "Lower the learning rate, clip gradients, or look for NaN in the data."
            )

    def _epoch_length(self, batch: int) -> int:
        """Returns the steps of an epoch; where they are unknown, those up to here."""
        return (self.params or {}).get("steps") or batch + 1

    def _attach_to_what_was_built(self) -> None:
        """After the first batch, which may have built layers."""
        sync_variables(self.model)
        if self._phases is None and self._first_epoch:
            raise ValueError(
                f"Model '{self.model.name}' goes on training at epoch "
                f"{self._first_epoch}, but its layers were built by the first batch, "
                "too late to restore masks and ranges. Call it on a batch before fit."
            )
        self._attach()
        if self._phases is None:
            self._start()
        else:
            self._phases.take_in()
        if self.model.train_function is None:  # `attach` drops it with what it changes
            self.model.make_train_function(force=True)

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        """Puts sparsity and phase into the epoch's logs."""
        self._check_loss()
        if self._phases is not None:
            self._phases.store_time()
            if self._files:
                self._lacked = unfinished(self._subject)
        self._show(logs)

    def on_train_end(self, logs: dict | None = None) -> None:
        """Says what is missing, after every other callback has ended."""
        running = running_callbacks()
        if running is None:
            self._finish()
        else:
            running.callbacks.append(_AtTheEnd(self._finish))

    def _finish(self) -> None:
        self._ended = True
        sync_variables(self.model)
        state = state_of(self._subject)
        if state is not None:
            state.score_data = None  # A model is kept longer than what it learned from.
        unmoved = self._phases.unmoved() if self._phases else None
        if unmoved is not None:
            _report(unmoved, self.recipe.strict)
        staged = self.total_steps is not None or self.total_epochs is not None
        if staged and self._phases and self._remaining():
            return
        if self._watch is not None:
            self._watch.settle()
        self._files.look(self._lacked)
        stale = self._files.problem()
        if stale is not None:
            _report(stale, self.recipe.strict)
        report_unfinished(self._subject, self.recipe.strict)

    def _remaining(self) -> int:
        """Returns the steps of this training that are left to later calls of `fit`."""
        phases: Any = self._phases
        return phases.remaining if self._watch is None else self._watch.remaining()

    def _start(self) -> None:
        """Starts the clock, unless an earlier fit or a checkpoint did."""
        phases = Phases(self._subject, self.model)
        phases.start(self._total_steps())
        self._phases = phases
        if self._watch is not None:
            steps = (self.params or {}).get("steps")
            self._watch.start(phases, steps, self._validates)

    def _show(self, logs: dict | None) -> None:
        if logs is not None and self._phases is not None:
            logs.update(self._phases.logs())

    def _total_steps(self) -> int:
        if self.total_steps is not None:
            return self.total_steps
        params = self.params or {}
        steps: Any = params.get("steps")
        if steps is not None:
            epochs = self.total_epochs or params["epochs"] - (self._first_epoch or 0)
            return epochs * steps
        if not self.recipe.needs_total_steps():
            return 0
        raise ValueError(
            "The recipe gives phases as shares of training, but the length of "
            "an epoch is unknown. Pass steps_per_epoch to fit or total_steps to the "
            "callback, or give prune_from, prune_until, quantize_from and "
            "freeze_ranges_from as steps (integers)."
        )


class _AtTheEnd(keras.callbacks.Callback):
    """Runs after the callbacks that a user listed.

    Args:
        action: what to call at the end of training.
    """

    def __init__(self, action: Any) -> None:
        super().__init__()
        self._action = action

    def on_train_end(self, logs: dict | None = None) -> None:
        """Runs."""
        self._action()


def _report(problem: str, strict: bool) -> None:
    if strict:
        raise ValueError(problem)
    warnings.warn(problem, stacklevel=2)


def _is_built(model: keras.Model) -> bool:
    """Returns whether there is anything to attach to before the first batch."""
    kernels = [x for _, x in walk_layers(model) if isinstance(x, QUANTIZABLE)]
    return model.built and (not kernels or any(layer.built for layer in kernels))
