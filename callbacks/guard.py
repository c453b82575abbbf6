"""The guard: sparsity grows only while validation allows it."""

import warnings
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np

from qsparse.engine.phases import Phases
from qsparse.engine.state import ModelState
from qsparse.keras_compat import add_child, metric_direction, remove_child
from qsparse.methods.validate import real

_PREFIX = "val_"
_MODES = ("auto", "max", "min")
# Under the model's state, while a guarded training lasts.
_CHILD = "guard"


@dataclass(frozen=True)
class Guard:
    """Lets sparsity grow only while a validation metric stays near its baseline.

    After each validation of `fit` the metric is compared with the baseline. Where it
    is worse by more than `max_drop`, masks stay as they are and the clock of pruning
    waits; training, and the clock of quantization, go on. Where it has come back,
    pruning goes on where it stopped. At the end of training the model is the best state
    within the guard, with weights, masks, ranges and clock of that epoch: int8 before
    float, then the sparser, then the better one. If the sparsity is short of the
    recipe's, a warning says where it stopped, and why; that the recipe ended early
    is then no shortfall to `qsparse.unfinished`.

    A copy of the weights is kept, in memory and in what `BackupAndRestore` writes.

    Attributes:
        metric: what is watched, as `fit` logs it: "val_loss", or "val_" and the name of
            a compiled metric.
        max_drop: by how much it may be worse, not negative, in its own unit.
        baseline: what it is compared with, as of the dense model. None: the best epoch
            that ended before the first weight was pruned; let pruning begin after one
            (`prune_from`).
        mode: "max" if more is better, "min" if less is, "auto" to ask Keras.

    Raises:
        ValueError: on any other value.
    """

    metric: str = "val_accuracy"
    max_drop: float = 0.01
    baseline: float | None = None
    mode: str = "auto"

    def __post_init__(self) -> None:
        if not isinstance(self.metric, str) or not self.metric.startswith(_PREFIX):
            raise ValueError(
                "`metric` of a Guard is one of validation, as 'val_accuracy' or "
                f"'val_loss'. Received: metric={self.metric!r}"
            )
        object.__setattr__(self, "max_drop", real("max_drop", self.max_drop))
        if self.max_drop < 0:
            raise ValueError(
                "`max_drop` must not be negative: it is by how much the metric may be "
                f"worse. Received: max_drop={self.max_drop}"
            )
        if self.baseline is not None:
            object.__setattr__(self, "baseline", real("baseline", self.baseline))
        if self.mode not in _MODES:
            raise ValueError(
                f"`mode` must be one of {_MODES}. Received: mode={self.mode!r}"
            )

    def sign(self, model: keras.Model) -> int:
        """Returns 1 if more of the metric is better, -1 if less is.

        Raises:
            ValueError: if the mode is "auto" and Keras does not know.
        """
        direction = {"max": "up", "min": "down"}.get(self.mode)
        if direction is None:
            direction = metric_direction(model, self.metric.removeprefix(_PREFIX))
        if direction is None:
            raise ValueError(
                f"Keras does not know whether more of '{self.metric}' is better. Say "
                "it: Guard(mode='max') or Guard(mode='min')."
            )
        return 1 if direction == "up" else -1


class Best(NamedTuple):
    """The best state within the guard so far.

    Attributes:
        key: int8 or not, share of zeros, and the metric, more of it being better.
        step: the last step that it has made.
        value: its metric.
        weights: of the compressed model, as `get_weights` returns them.
    """

    key: tuple[float, float, float]
    step: int
    value: float
    weights: list[np.ndarray]


class Memory(keras.layers.Layer):
    """What a guard remembers, as a part of the model, so that files hold it.

    Attributes:
        baseline: the best dense epoch's metric, or what the guard was given; None: none
            yet.
        refused: the metric where it was last out of bounds; None: never.
        held: whether the clock of pruning waits.
        start: the step that pruning was laid out from before it waited; -1: none.
        best: the best state; None: none yet.
    """

    def __init__(self) -> None:
        super().__init__(name=_CHILD, trainable=False)
        self.baseline: float | None = None
        self.refused: float | None = None
        self.held = False
        self.start = -1
        self._best: list[Best] = []
        self.built = True

    @property
    def best(self) -> Best | None:
        """The best state; None: none yet."""
        return self._best[0] if self._best else None

    def keep(self, best: Best) -> None:
        """Takes this for the best state."""
        self._best = [best]

    def save_own_variables(self, store: Any) -> None:
        """Stores all of it."""
        numbers = [self.baseline, self.refused, float(self.held), float(self.start)]
        best = self.best
        if best is not None:
            numbers += [*best.key, float(best.step), best.value]
            for index, value in enumerate(best.weights):
                store[f"best_{index}"] = value
        store["numbers"] = np.array(
            [np.nan if n is None else n for n in numbers], np.float64
        )

    def load_own_variables(self, store: Any) -> None:
        """Restores it; a file of before the guard has none."""
        if "numbers" not in store:
            return
        numbers = [float(n) for n in np.asarray(store["numbers"])]
        self.baseline, self.refused = (None if n != n else n for n in numbers[:2])
        self.held, self.start = bool(numbers[2]), int(numbers[3])
        if len(numbers) > 4:
            quantized, sparsity, good, step, value = numbers[4:]
            count = len([key for key in store.keys() if key.startswith("best_")])
            weights = [np.asarray(store[f"best_{index}"]) for index in range(count)]
            self.keep(Best((quantized, sparsity, good), int(step), value, weights))


class Watch:
    """Carries out a guard in a training.

    Args:
        guard: the guard.
        subject: the model that is compressed.
        state: what its layers share; what is remembered lies under it.
    """

    def __init__(self, guard: Guard, subject: keras.Model, state: ModelState) -> None:
        self._guard = guard
        self._subject = subject
        self._state = state
        if not hasattr(state, _CHILD):
            add_child(state, _CHILD, Memory())
        self._memory: Memory = getattr(state, _CHILD)
        self._phases: Phases | None = None

    def start(self, phases: Phases, steps: int | None, validates: bool | None) -> None:
        """Begins, or goes on where a checkpoint stopped.

        Args:
            phases: of the training; it has started.
            steps: the length of an epoch; None if unknown.
            validates: whether `fit` has validation data; None if unknown.

        Raises:
            ValueError: if there is no validation, or nothing to compare with.
        """
        guard, memory = self._guard, self._memory
        if phases.pruned() and memory.start < 0:
            return  # By a training without a guard: nothing is to grow.
        if validates is False:
            raise ValueError(
                f"The guard watches {guard.metric}, and fit has no validation data. "
                "Give it validation_data=(x, y)."
            )
        if guard.baseline is not None:
            memory.baseline = guard.baseline
        short = steps is not None and phases.until_pruning() < steps
        if memory.baseline is None and (short or phases.sparsity > 0):
            raise ValueError(
                "The guard has no baseline, and no epoch ends before pruning begins. "
                f"Give it the dense model's, Guard({guard.metric!r}, baseline=...), as "
                "model.evaluate tells, or let pruning begin later (prune_from)."
            )
        if memory.start < 0:
            memory.start = self._state.time().pruning.start
        phases.held = memory.held
        self._phases = phases

    def judge(self, trainer: keras.Model, logs: dict[str, Any]) -> None:
        """Holds or frees the clock of pruning, by what a validation found.

        Args:
            trainer: the model that `fit` trains.
            logs: of the validation, without "val_".

        Raises:
            ValueError: if the metric is not among them; or as `Guard.sign` does.
        """
        guard, memory, phases = self._guard, self._memory, self._phases
        if phases is None:
            return
        name = guard.metric.removeprefix(_PREFIX)
        if name not in logs:
            known = ", ".join(_PREFIX + key for key in logs)
            raise ValueError(
                f"The guard watches {guard.metric!r}, and validation has {known}. "
                "Compile the model with that metric, or watch another."
            )
        sign, value = guard.sign(trainer), float(logs[name])
        if guard.baseline is None and phases.sparsity == 0:
            known_best = value if memory.baseline is None else memory.baseline
            memory.baseline = sign * max(sign * value, sign * known_best)
        if memory.baseline is None:
            raise ValueError(
                "The guard has no baseline: no epoch ended before pruning began. Give "
                f"it the dense model's, Guard({guard.metric!r}, baseline=...), or let "
                "pruning begin later (prune_from)."
            )
        within = sign * value >= sign * memory.baseline - guard.max_drop
        phases.held = memory.held = not within
        if not within:
            memory.refused = value
            return
        phases.store_time()
        quantized = float(self._state.fake_quantizes)
        key = (quantized, round(phases.sparsity, 9), sign * value)
        if memory.best is None or key > memory.best.key:
            step, weights = self._state.time().step, self._subject.get_weights()
            memory.keep(Best(key, step, value, weights))

    def remaining(self) -> int:
        """Returns the steps to the end of the training, however long pruning waits."""
        clock, start = self._state.time(), self._memory.start
        if start >= 0:
            clock = clock._replace(pruning=clock.pruning._replace(start=start))
        return clock.remaining

    def settle(self) -> None:
        """Ends: brings the best state back, and says where pruning stopped."""
        guard, memory, phases = self._guard, self._memory, self._phases
        remove_child(self._state, _CHILD)
        if phases is None:
            return
        best = memory.best
        if best is None:
            if memory.refused is not None:
                warnings.warn(
                    f"No epoch was within the guard: {guard.metric} was "
                    f"{memory.refused:.4g} at last, {self._bound()}. The model is as "
                    "training left it.",
                    stacklevel=2,
                )
            return
        if best.step != self._state.time().step:
            self._subject.set_weights(best.weights)
        if phases.pruned():
            return
        phases.end_pruning()
        why = "training ended before it was through"
        if memory.refused is not None:
            why = f"{guard.metric} was {memory.refused:.4g}, {self._bound()}"
        target = self._state.recipe.sparsity or 0.0
        warnings.warn(
            f"The guard stopped pruning at {best.key[1]:.1%} of {target:.1%}: {why}. "
            f"The model is that of step {best.step}, with {guard.metric} "
            f"{best.value:.4g}.",
            stacklevel=2,
        )

    def _bound(self) -> str:
        guard, baseline = self._guard, self._memory.baseline or 0.0
        higher = self._memory.refused is not None and self._memory.refused > baseline
        sides = ">+" if higher else "<-"
        return f"{sides[0]} {baseline:.4g} {sides[1]} {guard.max_drop:.4g}"
