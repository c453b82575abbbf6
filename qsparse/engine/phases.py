"""Phases: what a compressed model does at which training step."""

import math
import warnings
import zlib

import keras

from qsparse.engine.kernel import KernelCompression, compressed_layers
from qsparse.engine.observers import InputQuantizer
from qsparse.engine.selection import Moment, Selector
from qsparse.engine.state import ModelState, compressions, state_of
from qsparse.keras_compat import sync_variables, walk_layers
from qsparse.planning.clock import Clock, Span
from qsparse.planning.progress import Progress

# Fewest steps from where pruning begins to the end of training: half of them, where
# pruning ends by default, hold the 50 selections that `update_every` aims at. With
# fewer, each one removes more than the weights can make up for before the next: a small
# CNN of 58% (Fashion-MNIST) had 11% after 8 steps, 17% after 32, 26% after 128.
_FEWEST_STEPS = 100


class Phases:
    """Moves an attached model through its phases.

    A training loop of one's own calls `start` once, `step` before each step, and
    `store_time` before a snapshot of the variables. A `tf.function` of its own follows
    the switch of fake quantization; it has to be traced anew where `step` returns True.
    Data that a criterion looks at is given to `attach`.

    Args:
        model: a model that `attach` was called on.
        trainer: the model whose `fit` trains it, as a distiller does its student; None:
            itself.

    Attributes:
        flip_rate: share of mask bits that the last selection changed, in [0, 1].
        sparsity: share of zeros among the pruned layers' weights, in [0, 1).
        held: whether pruning waits: masks stay, and what is left of its schedule moves
            on by each step that is made.
    """

    def __init__(self, model: keras.Model, trainer: keras.Model | None = None) -> None:
        state = state_of(model)
        if state is None:
            raise ValueError(f"Model '{model.name}' carries no recipe: attach one.")
        self._model = model
        self._trainer = model if trainer is None else trainer
        self._state: ModelState = state
        self.flip_rate = 0.0
        self.held = False
        state.callers.update({model, self._trainer})
        self._first_step = state.time().step + 1
        self._selector = Selector(model, state)
        self._read_layers()

    def _read_layers(self) -> None:
        children = compressions(self._model)
        self._layers = [c for c in children if isinstance(c, KernelCompression)]
        self._pruned = [c for c in self._layers if c.pattern is not None]
        self._weights = sum(math.prod(c.layout.shape) for c in self._pruned)
        layers = (layer for _, layer in walk_layers(self._model))
        self._quantizers = [c for c in layers if isinstance(c, InputQuantizer)]
        self.sparsity = self._measured_sparsity()
        self._at_start: list[int] = []

    def take_in(self) -> None:
        """Takes in what was attached to layers that the first step built."""
        if len(compressed_layers(self._model)) == len(self._layers):
            return
        known = self._layers
        self._read_layers()
        self._at_start = [_checksum(c) for c in self._layers]
        self._check_scoring()
        if self._pruned:
            self._prune(self._first_step, self._state.time().step)
        if self._state.fake_quantizes:
            _begin_rounding([c for c in self._layers if c not in known])

    def start(self, total_steps: int) -> None:
        """Begins with a training: what has not begun begins with its first step.

        What an earlier training or a file brought goes on where it stopped.

        Args:
            total_steps: the steps over which moments that are shares of training are
                laid out, from here on; 0 if unknown.

        Raises:
            ValueError: if a phase would begin after the last step, or pruning end
                before it begins; or if the criterion asks for data and there is none.
        """
        self._state.refresh()
        self._first_step = self._state.time().step + 1
        self._at_start = [_checksum(c) for c in self._layers]
        clock, recipe = self._state.time(), self._state.recipe
        span = Span(clock.step + 1, total_steps)
        if recipe.prunes and not clock.pruning.begun:
            self._check_moment("prune_until", total_steps)
            moments = recipe.prune_from, recipe.prune_until
            begin, end = (span.step_of(moment) - span.start for moment in moments)
            if begin > end:
                raise ValueError(
                    "Pruning must not end before it begins: prune_from is step "
                    f"{begin}, prune_until is step {end} of {total_steps}."
                )
            clock = clock._replace(pruning=span)
            _warn_if_hasty((total_steps or end) - begin)
        if recipe.quantizes and not clock.quantizing.begun:
            self._check_moment("quantize_from", total_steps)
            self._check_moment("freeze_ranges_from", total_steps)
            self._check_freezing(span)
            clock = clock._replace(quantizing=span)
        self._state.set_time(clock)
        self._check_scoring()

    def _check_scoring(self) -> None:
        """Raises if a selection to come would miss something that it is to see."""
        if self._pruned and self._pruning_phase()[1] >= self._first_step:
            self._selector.check(self._pruned)

    def _check_moment(self, name: str, total: int) -> None:
        moment = getattr(self._state.recipe, name)
        if isinstance(moment, int) and moment >= total > 0:
            raise ValueError(
                f"`{name}` is step {moment}, but this training ends after {total} "
                "steps. Train longer, give a share of training as a float in [0, 1], "
                "or, if more calls of fit follow, give the callback total_epochs."
            )

    def _check_freezing(self, span: Span) -> None:
        recipe = self._state.recipe
        moment = recipe.freeze_ranges_from
        if moment is None or (isinstance(moment, float) and moment and not span.total):
            return
        begin, frozen = span.step_of(recipe.quantize_from), span.step_of(moment)
        if frozen < begin:
            raise ValueError(
                "Ranges cannot be frozen before there are any: freeze_ranges_from is "
                f"step {frozen - span.start}, quantize_from is step "
                f"{begin - span.start} of {span.total}."
            )

    def complete(self) -> None:
        """Brings clock and switches to where a carried out recipe leaves them.

        As after the shortest training that passes every moment of the recipe; masks
        stay what they are.
        """
        state, recipe = self._state, self._state.recipe
        moments = recipe.prune_until, recipe.quantize_from, recipe.freeze_ranges_from
        total = 1 + max((m for m in moments if isinstance(m, int)), default=0)
        span, none = Span(0, total), Span()
        prunes, quantizes = recipe.prunes, recipe.quantizes
        state.set_time(
            Clock(total - 1, span if prunes else none, span if quantizes else none)
        )
        state.progress.assign(1.0)
        state.turn(state.switches_at(total - 1))
        _begin_rounding(self._layers)

    def step(self, done: int) -> bool:
        """Brings masks and switches up to the step that comes now.

        Steps may be skipped (`steps_per_execution`): masks are selected if any step
        since the last call asks for it.

        Args:
            done: how many steps this training has made, 0 before its first one.

        Returns:
            Whether statistics of normalizations or ranges begin or cease to be
            frozen: then a function that Keras does not own has to be traced anew.
        """
        state, clock = self._state, self._state.time()
        step = self._first_step + done
        if step <= clock.step:
            return False
        if self.held and not self.pruned():
            state.delay_pruning(step - clock.step)
        state.advance(step)
        wanted, before = state.switches_at(step), state.switches
        if wanted != before:
            sync_variables(self._trainer)
            state.turn(wanted)
            state.store_time()
        self._prune(clock.step + 1, step)
        if wanted.fake_quantizes and not before.fake_quantizes:
            _begin_rounding(self._layers)
        return wanted._replace(fake_quantizes=before.fake_quantizes) != before

    def due(self, done: int) -> bool:
        """Returns whether `step` would select masks or turn a switch.

        Then it waits for the step before to end; else the device never waits for us.

        Args:
            done: as of `step`.
        """
        state, last = self._state, self._state.time().step
        step = self._first_step + done
        return step > last and (
            state.switches_at(step) != state.switches or self._selects(last + 1, step)
        )

    def _selects(self, first: int, last: int) -> bool:
        """Returns whether any step from `first` to `last` asks for a selection."""
        recipe = self._state.recipe
        if not recipe.prunes or self.held:
            return False
        begin, end = self._pruning_phase()
        every = recipe.update_every or min(max((end - begin) // 50, 1), 100)
        return any(
            recipe.schedule.refreshes(step, begin, end, every)
            for step in range(first, last + 1)
        )

    def _prune(self, first: int, last: int) -> None:
        """Selects masks if any step from `first` to `last` asks for it."""
        if self._selects(first, last):
            sync_variables(self._trainer)
            moment = Moment(last, *self._pruning_phase())
            self._select(moment)
            self._state.progress.assign(moment.progress)
            self._state.store_time()
        elif self._pruned and first <= self._pruning_phase()[1] <= last:
            sync_variables(self._trainer)  # A schedule may be through before its end.
            self._state.progress.assign(1.0)
            self._state.store_time()

    def pruned(self) -> bool:
        """Returns whether the steps of pruning are over."""
        return self._state.time().step >= self._pruning_phase()[1]

    def until_pruning(self) -> int:
        """Returns how many steps will be made before the first that prunes."""
        return self._pruning_phase()[0] - self._state.time().step - 1

    def end_pruning(self) -> None:
        """Ends pruning with the last step that was made: masks stay as they are.

        The training that it was laid out over is taken to end there.
        """
        clock = self._state.time()
        start = min(clock.pruning.start, clock.step)
        over = Span(start, clock.step - start + 1)
        self._state.progress.assign(1.0)
        self._state.set_time(clock._replace(pruning=over))

    def _pruning_phase(self) -> tuple[int, int]:
        """Returns the first and the last step of pruning."""
        recipe, span = self._state.recipe, self._state.time().pruning
        return span.step_of(recipe.prune_from), span.step_of(recipe.prune_until)

    def store_time(self) -> None:
        """Lets the model's variables hold what the clock shows.

        Files that Keras writes need no help. This is for what reads the variables:
        `get_weights`, as `EarlyStopping` calls it at the end of an epoch, and
        `tf.train.Checkpoint`. Between selections of masks a loop of one's own calls
        it before it takes such a snapshot.
        """
        sync_variables(self._trainer)
        self._state.store_time()

    def set_fitting(self, fitting: bool) -> None:
        """Says whether a step of training runs from here on.

        Models that hand no `training` on to their layers learn ranges meanwhile.
        """
        self._state.fitting = fitting

    @property
    def remaining(self) -> int:
        """Steps that the recipe is still laid out over; 0 if unknown."""
        return self._state.time().remaining

    def progress(self) -> Progress:
        """Returns how far the model has come."""
        self.sparsity = self._measured_sparsity()
        limits = [pair for c in self._quantizers for pair in c.ranges.numpy()]
        return Progress(
            recipe=self._state.recipe.to_dict(),
            clock=self._state.time(),
            quantizing=self._state.fake_quantizes,
            sparsity=self.sparsity,
            ranges=len(limits),
            trained=sum(bool(low < high) for low, high in limits),
        )

    def unmoved(self) -> str | None:
        """Returns what to say if the steps since `start` changed no weight.

        A layer that does not train is not expected to.
        """
        if self._state.time().step < self._first_step:
            return None
        trains = [bool(c.owner().trainable_variables) for c in self._layers]
        now = [_checksum(c) for c in self._layers]
        pairs = zip(now, self._at_start, trains, strict=True)
        if not any(trains) or any(a != b for a, b, trains in pairs if trains):
            return None
        return (
            "Training changed no compressed weight: no optimizer made a step, or its "
            "steps do not reach these layers. Masks and ranges are those of weights "
            "that never learned to live with them."
        )

    def _select(self, moment: Moment) -> None:
        """Selects every mask anew."""
        selections = self._selector.select(self._pruned, moment)
        weights = max(self._weights, 1)
        self.flip_rate = sum(s.flipped for s in selections) / weights
        self.sparsity = 1.0 - sum(s.kept for s in selections) / weights

    def logs(self) -> dict[str, float]:
        """Returns what a progress bar shows.

        `sparsity` and `mask_flips` are shares of the pruned layers' weights;
        `phase` is 0 dense, 1 sparse, 2 quantized, 3 both.
        """
        quantizing = self._state.fake_quantizes
        logs = {"phase": float((self.sparsity > 0) + 2 * quantizing)}
        if self._pruned:
            logs |= {"sparsity": self.sparsity, "mask_flips": self.flip_rate}
        return logs

    def _measured_sparsity(self) -> float:
        masks = (c.mask_variable.numpy() for c in self._pruned)
        kept = sum(int(mask.sum()) for mask in masks)
        return 1.0 - kept / self._weights if self._weights else 0.0


def _warn_if_hasty(steps: int) -> None:
    if steps < _FEWEST_STEPS:
        warnings.warn(
            f"Training makes {steps} steps from where pruning begins to its end. Masks "
            f"from fewer than {_FEWEST_STEPS} cost accuracy: train longer, or give "
            "total_epochs if more calls of fit follow.",
            stacklevel=2,
        )


def unfinished(model: keras.Model) -> str | None:
    """Returns what a model lacks of what its recipe asks for, in sentences.

    None if the recipe was carried out, or if the model carries none.

    `tf.train.Checkpoint.restore` writes variables in a way that nobody notices. Call
    this after it, before anything else is done with the model: `predict` then runs
    the phase that was restored. Whatever trains, saves or exports a model finds out by
    itself.
    """
    if state_of(model) is None:
        return None
    return Phases(model).progress().shortfall()


def report_unfinished(model: keras.Model, strict: bool, stacklevel: int = 3) -> None:
    """Warns if a model that is taken for finished is not.

    Args:
        model: any model.
        strict: raise instead.
        stacklevel: as of `warnings.warn`, counted from here.

    Raises:
        ValueError: if `strict`, and the recipe was not carried out.
    """
    problem = unfinished(model)
    if problem is None:
        return
    if strict:
        raise ValueError(problem)
    warnings.warn(problem, stacklevel=stacklevel)


def _begin_rounding(layers: list[KernelCompression]) -> None:
    for layer in layers:
        layer.begin_rounding()


def _checksum(layer: KernelCompression) -> int:
    return zlib.crc32(layer.values().tobytes())
