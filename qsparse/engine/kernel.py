"""The kernel of one compressed layer: mask, integers, effective weights."""

import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from qsparse.engine import kernel_file
from qsparse.engine.effective import effective
from qsparse.engine.fixed import FixedKernel
from qsparse.engine.observers import InputQuantizer, OutputQuantizer
from qsparse.engine.probe import Probe
from qsparse.engine.ranking import Ranking
from qsparse.engine.scales import LearnedScales
from qsparse.engine.state import Compression, ModelState, compressions
from qsparse.engine.tap import GradientSums, SettledMask
from qsparse.keras_compat import (
    autocast_dtype,
    handed_back,
    own_kernel,
    tell_of_assignments,
    tensor_of,
)
from qsparse.methods.criteria import STATISTICS
from qsparse.methods.estimators import (
    nothing_with_gradient,
    settles,
)
from qsparse.methods.formats import Format, Int8
from qsparse.methods.regrowth import regrown
from qsparse.planning.layouts import KernelLayout
from qsparse.planning.plan import LayerPlan
from qsparse.planning.targets import changed_by_keras


class Selection(NamedTuple):
    """What one selection made of a mask.

    Attributes:
        kept: how many weights it keeps.
        flipped: how many were kept before and are not now, or the other way round.
        grown: those that grew from zero, bool of the kernel's shape; None if the layer
            does not regrow.
    """

    kept: int
    flipped: int
    grown: np.ndarray | None = None


class KernelCompression(Compression):
    """Prunes and fake-quantizes the kernel of one layer.

    Args:
        layer: the built layer that is compressed; its kernel is the dense master.
        plan: what becomes of it.
        state: the model's shared state.

    Attributes:
        watcher: gets what flows into the layer, before it is quantized, at every
            call; None where nobody looks.
    """

    def __init__(
        self,
        layer: keras.layers.Layer,
        plan: LayerPlan,
        state: ModelState,
    ) -> None:
        super().__init__(plan, state)
        self._owner: Any = weakref.ref(layer)
        self.fixed: FixedKernel | None = None
        self._stand_in: Any = None
        self.watcher: Callable[[Any], None] | None = None
        self.mask_variable: Any = None
        self.input_quantizer: InputQuantizer | None = None
        self.output_quantizer: OutputQuantizer | None = None
        self.gradient_sums: GradientSums | None = None
        self.settled_mask: SettledMask | None = None
        self.scales: LearnedScales | None = None
        self.ranking = Ranking(self)
        self.probe: Probe | None = None
        self._own_regularizer = self.master_variable.regularizer
        self.take_on(plan)
        self.built = True

    @property
    def path_in_model(self) -> str:
        """Where the layer lies in the model."""
        return self.plan.path

    @property
    def layout(self) -> KernelLayout:
        """How the kernel lies in memory."""
        layout: Any = self.plan.layout
        return layout

    @property
    def pattern(self) -> Any:
        """The pattern of the mask, or None if the layer is not pruned."""
        return self.plan.pattern

    def take_on(self, plan: LayerPlan) -> None:
        """Adds what another plan asks for and this layer does not have yet.

        Args:
            plan: of this layer, by a recipe that adds to the one so far.
        """
        self.plan = plan = self.plan.adding(plan)
        if plan.prunes and self.mask_variable is None:
            self.mask_variable = self.add_weight(
                name="mask",
                shape=self.layout.shape,
                dtype="bool",
                initializer="ones",
                trainable=False,
            )
            self.master_variable.regularizer = self._regularize
            sums = [n for n in self.ranking.needs if STATISTICS[n].from_steps]
            if sums:
                self.gradient_sums = GradientSums(self.master_variable, sums)
            if settles(plan.estimator):
                self.settled_mask = SettledMask(
                    self.master_variable, self.mask_variable.numpy(), plan.estimator
                )
                tell_of_assignments(self.mask_variable, self._notice_mask)
        if getattr(plan.weight_format, "trained", False) and self.scales is None:
            self.scales = LearnedScales(plan.weight_format, self.layout.outputs)
        if plan.quantizes and self.input_quantizer is None:
            self.input_quantizer = InputQuantizer(1, plan, self.state())
            if plan.output_format is not None:
                self.output_quantizer = OutputQuantizer(plan, self.state())

    @property
    def master_variable(self) -> keras.Variable:
        """The kernel's variable: the dense master."""
        return own_kernel(self.owner())

    def owner(self) -> keras.layers.Layer:
        """Returns the compressed layer; a method for the same reason as `state`."""
        return self._owner()

    def quantize_inputs(self, inputs: Any) -> Any:
        """Fake-quantizes what flows into the layer."""
        if self.watcher is not None:
            self.watcher(inputs)
        quantizer = self.input_quantizer
        found = inputs if quantizer is None else quantizer(inputs)
        if self.probe is not None:
            self.probe.see(self.owner(), found)
        return found

    def _regularize(self, weights: Any) -> Any:
        """Adds the estimator's correction to what the user regularizes with."""
        mask = ops.cast(self.mask_variable, weights.dtype)
        total = ops.zeros((), keras.config.floatx())
        if self._own_regularizer is not None:
            total = total + ops.cast(self._own_regularizer(weights), total.dtype)
        correction = self.plan.estimator.correction(weights, mask)
        if correction is not None:
            nothing = nothing_with_gradient(weights, correction)
            total = total + ops.cast(nothing, total.dtype)
        return total

    def effective_kernel(self) -> Any:
        """Returns the kernel that the layer computes with: pruned, quantized."""
        if self._stand_in is not None:
            kernel = self._stand_in
        elif self.fixed is not None:
            kernel = ops.convert_to_tensor(self.fixed.values)
        else:
            kernel = effective(self, tensor_of(self.master_variable))
        dtype = autocast_dtype()
        return kernel if dtype is None else ops.cast(kernel, dtype)

    def values(self) -> np.ndarray:
        """Returns the dense master weights as Keras holds them, in their own dtype."""
        return self.master_variable.numpy()

    def master(self) -> np.ndarray:
        """Returns the dense master weights `(taps, inputs, outputs)`, float32.

        Raises:
            ValueError: if a weight is NaN or infinite, or if Keras quantized the
                layer or gave it LoRA after the recipe was attached.
        """
        changed = changed_by_keras(self.owner())
        if changed:
            raise ValueError(
                f"Layer '{self.path_in_model}' {changed} after the recipe was "
                "attached. Do that to a stripped model: qsparse.strip(model)."
            )
        weights = self.master_variable.numpy().astype(np.float32, copy=False)
        if not np.isfinite(weights).all():
            raise ValueError(
                f"Layer '{self.path_in_model}' has NaN or infinite weights. "
                "Training diverged: lower the learning rate or clip gradients."
            )
        return self.layout.canonical(weights)

    def canonical_mask(self) -> np.ndarray | None:
        """Returns the mask `(taps, inputs, outputs)`, or None if not pruned."""
        if self.mask_variable is None:
            return None
        return self.layout.canonical(self.mask_variable.numpy())

    def canonical_integers(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns `(q, scale)` of the kernel in canonical form, pruned and coded."""
        q, scale = self._encode(self._to_round())
        mask = self.canonical_mask()
        return q if mask is None else q * mask, scale

    def _to_round(self) -> np.ndarray:
        """Returns the weights that are rounded: pruned ones, if pruning comes first."""
        weights, mask = self.master(), self.canonical_mask()
        pruned = mask is not None and self.state().recipe.order == "S->Q"
        return weights * mask if pruned else weights

    def begin_rounding(self, weights: np.ndarray | None = None) -> None:
        """Lets scales that training learns begin with what is rounded.

        Args:
            weights: `(taps, inputs, outputs)`; None: the layer's, as they are now.
        """
        if self.scales is not None:
            self.scales.begin(self._to_round() if weights is None else weights)

    def _encode(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self.scales is not None:
            return self.scales.encode(weights)
        return self._format.encode(weights)

    @property
    def _format(self) -> Format:
        """What the kernel is coded in; int8 where it trained in float."""
        return self.plan.weight_format or Int8()

    @property
    def _rounds(self) -> bool:
        """Whether the layer computes with rounded weights now."""
        return self.plan.weight_format is not None and self.state().fake_quantizes

    def scored_weights(self) -> np.ndarray:
        """Returns the weights that masks are selected by, `(taps, inputs, outputs)`.

        In the order `"Q->S"` they are rounded, as soon as the layer computes so.

        Raises:
            ValueError: as `master` does.
        """
        weights = self.master()
        if self.state().recipe.order == "Q->S" and self._rounds:
            return self.rounded(weights)
        return weights

    def rounded(self, canonical: np.ndarray) -> np.ndarray:
        """Returns weights rounded to what the kernel is coded in.

        Args:
            canonical: float32 `(taps, inputs, outputs)`.
        """
        return self._format.decode(*self._encode(canonical))

    def integer_weights(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns int8 weights as they lie in a LiteRT file, and their scales."""
        q, scale = self.canonical_integers()
        return self.layout.litert(q), scale

    def mask(self) -> np.ndarray | None:
        """Returns the mask as it lies in a LiteRT file, or None if not pruned."""
        mask = self.canonical_mask()
        return None if mask is None else self.layout.litert(mask)

    def fix(self, on_grid: bool = True) -> None:
        """Fixes kernel and ranges to what they are now.

        Done before a graph is traced, where variables have no value yet.

        Args:
            on_grid: whether the kernel is rounded to int8 even if training did not
                begin to.
        """
        mask, integers = self.canonical_mask(), None
        if on_grid or self._rounds:
            integers, scale = self.canonical_integers()
            values = self._format.decode(integers, scale)
        else:
            values = self.master() if mask is None else self.master() * mask
        kernel = self.layout.kernel
        self.fixed = FixedKernel(
            kernel(values),
            None if integers is None else kernel(integers),
            None if mask is None else kernel(mask),
        )
        for quantizer in self._quantizers():
            quantizer.fix()

    def release(self) -> None:
        """Undoes `fix`."""
        self.fixed = None
        for quantizer in self._quantizers():
            quantizer.release()

    def _quantizers(self) -> list[Compression]:
        both = (self.input_quantizer, self.output_quantizer)
        return [quantizer for quantizer in both if quantizer is not None]

    @contextmanager
    def standing_in(self, kernel: Any) -> Iterator[None]:
        """Lets the layer compute with a tensor in the place of its frozen kernel.

        Args:
            kernel: of the kernel's shape, float32; an argument of a trace, whose name
                then says which layer the weights are of.
        """
        self._stand_in = kernel
        try:
            yield
        finally:
            self._stand_in = None

    def select_mask(
        self,
        sparsity: float,
        pattern: Any = None,
        fraction: float | None = None,
        seed: int = 0,
    ) -> Selection:
        """Selects the mask anew at `sparsity`, in [0, 1); returns what became of it.

        Args:
            sparsity: share of zeros; at 0 all is kept, and nothing scored.
            pattern: what is laid on; None: the plan's.
            fraction: the share of the kept weights that the plan's regrowth moves;
                None selects by the scores alone, and so does a mask that has no zeros.
            seed: for what is random about that.

        Raises:
            ValueError: if the layer is not pruned, or as `master` and `Ranking.score`
                do.
        """
        old, pattern = self.mask_so_far(), pattern or self.pattern
        new, regrows = np.ones(old.shape, bool), fraction is not None and self.regrows
        if sparsity > 0:
            scores = self.ranking.scores()
            if fraction is not None and regrows:
                gradients = self.ranking.gradients
                growth = self.plan.regrowth.score(gradients, old.shape, seed)
                new = regrown(pattern, old, scores, growth, fraction, sparsity)
            else:
                new = pattern.mask(scores, sparsity)
        self.ranking.use_up()
        self.mask_variable.assign(self.layout.kernel(new))
        grown = self.layout.kernel(new & ~old) if regrows else None
        if grown is not None and grown.any():
            self.master_variable.assign(np.where(grown, 0, self.values()))
        return Selection(int(new.sum()), int((new != old).sum()), grown)

    def _notice_mask(self) -> None:
        # `fit` on JAX hands back what it was given; the mask is not news then.
        if self.settled_mask is not None and not handed_back():
            self.settled_mask.put(self.mask_variable.numpy())

    def held_by_optimizer(self) -> list[GradientSums | SettledMask]:
        """Returns what an optimizer has to hold for the kernel."""
        held = (self.gradient_sums, self.settled_mask)
        return [each for each in held if each is not None]

    def mask_so_far(self) -> np.ndarray:
        """Returns the mask `(taps, inputs, outputs)`.

        Raises:
            ValueError: if the layer is not pruned.
        """
        mask = self.canonical_mask()
        if mask is None:
            raise ValueError(f"Layer '{self.path_in_model}' is not pruned.")
        return mask

    @property
    def regrows(self) -> bool:
        """Whether the mask has zeros that the plan's regrowth could let grow."""
        return self.plan.regrowth is not None and not self.mask_so_far().all()

    def without_gradient(self) -> np.ndarray | None:
        """Returns where weights have no gradient, bool of the kernel's shape, or None.

        An optimizer that remembers one would move them.
        """
        if getattr(self.plan.estimator, "dense_gradients", True):
            return None
        return ~self.mask_variable.numpy()

    @contextmanager
    def probed(self, zeros: Any) -> Iterator[Probe]:
        """Has the layer show what its weights are multiplied by, while it is traced.

        Args:
            zeros: as of `Probe`.
        """
        self.probe = Probe(zeros)
        try:
            yield self.probe
        finally:
            self.probe = None

    def put(self, canonical: np.ndarray, mask: np.ndarray | None) -> None:
        """Takes on weights and a mask that were found without training.

        Args:
            canonical: the dense weights `(taps, inputs, outputs)`, finite.
            mask: bool of the same shape, True where kept; None if not pruned.
        """
        self.master_variable.assign(self.layout.kernel(canonical))
        if mask is not None:
            self.mask_variable.assign(self.layout.kernel(mask))

    def detach(self) -> None:
        """Bakes the effective kernel into the layer's own variable."""
        self.master_variable.assign(effective(self, tensor_of(self.master_variable)))
        self.master_variable.regularizer = self._own_regularizer

    def save_own_variables(self, store: Any) -> None:
        """Stores the dense master; see `kernel_file`."""
        kernel_file.save(self, store)

    def load_own_variables(self, store: Any) -> None:
        """Restores master and mask; see `kernel_file`."""
        kernel_file.load(self, store)


def compressed_layers(model: keras.Model) -> list[KernelCompression]:
    """Returns the compression of every attached kernel, depth first."""
    return [c for c in compressions(model) if isinstance(c, KernelCompression)]
