"""Phases: what a compressed model does at which training step."""

import math

import keras

from qsparse.kernel import compressed_layers
from qsparse.norms import FrozenStatistics
from qsparse.recipe import step_of
from qsparse.state import ModelState, compressions, state_of


class Phases:
    """Moves an attached model through its phases.

    Args:
        model: a model that `attach` was called on.

    Attributes:
        flip_rate: share of mask bits that the last selection changed, in [0, 1].
        sparsity: share of zeros among the pruned layers' weights, in [0, 1).
        quantizing: whether fake quantization is on.
        statistics_frozen: whether normalizations train with moving statistics.
    """

    def __init__(self, model: keras.Model) -> None:
        state = state_of(model)
        if state is None:
            raise ValueError(f"Model '{model.name}' carries no recipe: attach one.")
        self._state: ModelState = state
        self._pruned = [c for c in compressed_layers(model) if c.pattern is not None]
        self._weights = sum(math.prod(c.layout.shape) for c in self._pruned)
        self._norms = [
            c for c in compressions(model) if isinstance(c, FrozenStatistics)
        ]
        self.statistics_frozen = any(norm.active for norm in self._norms)
        self.flip_rate = 0.0
        self.quantizing = bool(state.quantizing.numpy())
        self.sparsity = self._measured_sparsity()

    def start(self, iteration: int, total_steps: int) -> None:
        """Start the clock, or let one go on that an earlier fit or a file brought.

        Args:
            iteration: the optimizer's iteration now.
            total_steps: steps that this training will take; 0 if unknown.

        Raises:
            ValueError: if a phase would begin after the last step, or pruning end
                before it begins.
        """
        if self._state.begun:
            start, total, last = (int(v) for v in self._state.clock.numpy())
            if iteration - start < last:
                # A new optimizer counts from zero again.
                self._state.clock.assign([iteration - last - 1, total, last])
            return
        for name, moment in self._moments().items():
            if isinstance(moment, int) and moment >= total_steps > 0:
                raise ValueError(
                    f"`{name}` is step {moment}, but this training ends after "
                    f"{total_steps} steps. Train longer, or give a share of training "
                    "as a float in [0, 1]."
                )
        begin, end = self._pruning_phase(total_steps)
        if begin > end:
            raise ValueError(
                f"Pruning must not end before it begins: prune_from is step {begin}, "
                f"prune_until is step {end} of {total_steps}."
            )
        self._state.clock.assign([iteration, total_steps, -1])

    def step(self, iteration: int) -> bool:
        """Bring masks and switches up to the optimizer's `iteration`.

        Steps may be skipped (`steps_per_execution`) or repeated (gradient
        accumulation): masks are selected if any step since the last call asks
        for it.

        Returns:
            Whether the train function has to be traced anew.
        """
        recipe = self._state.recipe
        start, total, last = (int(v) for v in self._state.clock.numpy())
        step = iteration - start
        if step <= last:
            return False
        self._state.clock.assign([start, total, step])
        if recipe.quantize:
            self.quantizing = step >= self._moment(recipe.quantize_from, total)
            if self.quantizing != bool(self._state.quantizing.numpy()):
                self._state.quantizing.assign(self.quantizing)
        retrace = self._freeze_statistics(step, total)
        if recipe.pattern is None:
            return retrace
        begin, end = self._pruning_phase(total)
        every = recipe.update_every or min(max((end - begin) // 50, 1), 100)
        schedule, final = recipe.schedule, recipe.sparsity
        passed = range(last + 1, step + 1)
        if any(schedule.refreshes(s, begin, end, every) for s in passed):
            self.select_masks(schedule.sparsity(step, begin, end, final))
        return retrace

    def _freeze_statistics(self, step: int, total: int) -> bool:
        moment = self._state.recipe.freeze_statistics_from
        if moment is None or (isinstance(moment, float) and not total):
            return False
        frozen = self.quantizing and step >= self._moment(moment, total)
        if frozen == self.statistics_frozen:
            return False
        self.statistics_frozen = frozen
        for norm in self._norms:
            norm.active = frozen
        return bool(self._norms)

    def unfinished(self) -> str | None:
        """Return what the recipe asks for and the model does not have, or None.

        Either training ended early, or something brought back earlier weights,
        as `EarlyStopping(restore_best_weights=True)` does.
        """
        recipe = self._state.recipe
        _, total, last = (int(v) for v in self._state.clock.numpy())
        late = [n for n, m in self._moments().items() if last < self._moment(m, total)]
        self.sparsity = self._measured_sparsity()
        if not late:
            return None
        has = ["int8" if self._state.quantizing.numpy() else "float"]
        if recipe.pattern is not None:
            has.append(f"{self.sparsity:.1%} of {recipe.sparsity:.1%} sparse")
        return (
            f"The recipe was not carried out: the model is {', '.join(has)}, as of "
            f"step {last}, which comes before {' and '.join(late)}. Train longer, "
            "let the phases end earlier, or restore only weights from after them "
            "(EarlyStopping has start_from_epoch)."
        )

    def _pruning_phase(self, total: int) -> tuple[int, int]:
        recipe = self._state.recipe
        begin = self._moment(recipe.prune_from, total)
        return begin, self._moment(recipe.prune_until, total)

    def _moments(self) -> dict[str, float | int]:
        recipe = self._state.recipe
        moments = {"quantize_from": recipe.quantize_from} if recipe.quantize else {}
        if recipe.pattern is not None:
            moments["prune_until"] = recipe.prune_until
        return moments

    def select_masks(self, sparsity: float) -> None:
        """Select every mask anew at `sparsity`, in [0, 1)."""
        flips = sum(c.select_mask(sparsity) for c in self._pruned)
        self.flip_rate = flips / max(self._weights, 1)
        self.sparsity = self._measured_sparsity()

    def logs(self) -> dict[str, float]:
        """Return what a progress bar shows.

        `sparsity` and `mask_flips` are shares of the pruned layers' weights;
        `phase` is 0 dense, 1 sparse, 2 quantized, 3 both.
        """
        logs = {"phase": float((self.sparsity > 0) + 2 * self.quantizing)}
        if self._pruned:
            logs |= {"sparsity": self.sparsity, "mask_flips": self.flip_rate}
        return logs

    def _measured_sparsity(self) -> float:
        masks = (c.mask_variable.numpy() for c in self._pruned)
        kept = sum(int(mask.sum()) for mask in masks)
        return 1.0 - kept / self._weights if self._weights else 0.0

    @staticmethod
    def _moment(moment: float | int, total: int) -> int:
        step = step_of(moment, total)
        return min(step, total - 1) if total else step
