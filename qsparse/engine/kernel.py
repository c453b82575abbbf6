"""The kernel of one compressed layer: mask, integers, effective weights."""

import json
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import ops

from qsparse.engine.observers import InputQuantizer, OutputQuantizer
from qsparse.engine.state import Compression, ModelState, compressions
from qsparse.engine.tap import GradientSum
from qsparse.keras_compat import autocast_dtype, own_kernel, tensor_of
from qsparse.methods.criteria import needs_gradients
from qsparse.methods.estimators import nothing_with_gradient, straight_through
from qsparse.methods.formats import Format, Int8
from qsparse.planning.layouts import KernelLayout
from qsparse.planning.plan import LayerPlan
from qsparse.planning.targets import changed_by_keras


@dataclass(frozen=True)
class FixedKernel:
    """A kernel as an export takes it; arrays have the shape it has in the layer.

    Attributes:
        values: what the layer computes with, float32.
        integers: int8, each channel of `values` a multiple of them; None where the
            values are on no grid.
        mask: bool, True where kept; None if the layer is not pruned.
    """

    values: np.ndarray
    integers: np.ndarray | None
    mask: np.ndarray | None


class Selection(NamedTuple):
    """What one selection made of a mask.

    Attributes:
        kept: how many weights it keeps.
        flipped: how many were kept before and are not now, or the other way round.
    """

    kept: int
    flipped: int


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
        self.gradient_sum: GradientSum | None = None
        self._own_regularizer = self._master.regularizer
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
            self._master.regularizer = self._regularize
            if needs_gradients(plan.criterion):
                self.gradient_sum = GradientSum(self._master)
        if plan.quantizes and self.input_quantizer is None:
            self.input_quantizer = InputQuantizer(1, plan, self.state())
            if plan.output_format is not None:
                self.output_quantizer = OutputQuantizer(plan, self.state())

    @property
    def _master(self) -> keras.Variable:
        return own_kernel(self.owner())

    def owner(self) -> keras.layers.Layer:
        """Returns the compressed layer; a method for the same reason as `state`."""
        return self._owner()

    def quantize_inputs(self, inputs: Any) -> Any:
        """Fake-quantizes what flows into the layer."""
        if self.watcher is not None:
            self.watcher(inputs)
        quantizer = self.input_quantizer
        return inputs if quantizer is None else quantizer(inputs)

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
        state = self.state()
        if self._stand_in is not None:
            kernel = self._stand_in
        elif self.fixed is not None:
            kernel = ops.convert_to_tensor(self.fixed.values)
        else:
            kernel = self._compressed(tensor_of(self._master), state)
        dtype = autocast_dtype()
        return kernel if dtype is None else ops.cast(kernel, dtype)

    def _compressed(self, kernel: Any, state: ModelState) -> Any:
        if state.recipe.order == "S->Q":
            return self._quantized(self._pruned(kernel, state), state)
        return self._pruned(self._quantized(kernel, state), state)

    def _pruned(self, kernel: Any, state: ModelState) -> Any:
        if self.mask_variable is None:
            return kernel
        mask = ops.cast(self.mask_variable, kernel.dtype)
        return self.plan.estimator(kernel, mask, tensor_of(state.progress))

    def _quantized(self, kernel: Any, state: ModelState) -> Any:
        format = self.plan.weight_format
        on = False if format is None else state.switch()
        if on is False:
            return kernel
        values = ops.stop_gradient(kernel)

        def fake() -> Any:
            return format.fake(values, self.layout.reduced_axes)

        rounded = fake() if on is True else ops.cond(on, fake, lambda: values)
        return straight_through(kernel, rounded)

    def values(self) -> np.ndarray:
        """Returns the dense master weights as Keras holds them, in their own dtype."""
        return self._master.numpy()

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
        weights = self._master.numpy().astype(np.float32, copy=False)
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
        weights, mask, format = self.master(), self.canonical_mask(), self._format
        if mask is None:
            return format.encode(weights)
        if self.state().recipe.order == "S->Q":
            return format.encode(weights * mask)
        q, scale = format.encode(weights)
        return q * mask, scale

    @property
    def _format(self) -> Format:
        """What the kernel is coded in; int8 where it trained in float."""
        return self.plan.weight_format or Int8()

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

        Raises:
            ValueError: if the kernel's format is one that no export knows.
        """
        mask, integers = self.canonical_mask(), None
        if on_grid or self.state().fake_quantizes:
            if not self._format.exportable:
                raise ValueError(
                    f"Layer '{self.path_in_model}' trains in {self._format}, which "
                    "cannot be exported."
                )
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

    def select_mask(self, sparsity: float) -> Selection:
        """Selects the mask anew at `sparsity`, in [0, 1); returns what became of it.

        Raises:
            ValueError: if the layer is not pruned, or as `master` does.
        """
        state, old = self.state(), self.canonical_mask()
        if old is None:
            raise ValueError(f"Layer '{self.path_in_model}' is not pruned.")
        weights = self.master()
        if state.recipe.order == "Q->S" and state.fake_quantizes:
            weights = self._format.decode(*self._format.encode(weights))
        new = np.ones(weights.shape, bool)
        if sparsity > 0:
            new = self.pattern.mask(self._scores(weights), sparsity)
        self.mask_variable.assign(self.layout.kernel(new))
        return Selection(int(new.sum()), int((new != old).sum()))

    def _scores(self, weights: np.ndarray) -> np.ndarray:
        criterion = self.plan.criterion
        seen = [] if self.gradient_sum is None else [self._gradients()]
        scores = np.asarray(criterion.score(weights, *seen))
        if scores.shape != weights.shape or not np.isfinite(scores).all():
            raise ValueError(
                f"{type(criterion).__name__}.score must return finite scores of the "
                f"shape of the weights, {weights.shape} for layer "
                f"'{self.path_in_model}'. Received: shape {scores.shape}, from "
                f"{scores.min(initial=np.inf)} to {scores.max(initial=-np.inf)}"
            )
        return scores

    def _gradients(self) -> np.ndarray:
        gradients = None if self.gradient_sum is None else self.gradient_sum.take()
        if gradients is None:
            raise ValueError(
                f"{self.plan.criterion} scores by gradients, but layer "
                f"'{self.path_in_model}' had none since masks were last selected. Let "
                "pruning begin after some steps (prune_from), and train with fit, or "
                "with the optimizer that the model was compiled with."
            )
        return self.layout.canonical(gradients)

    def put(self, canonical: np.ndarray, mask: np.ndarray | None) -> None:
        """Takes on weights and a mask that were found without training.

        Args:
            canonical: the dense weights `(taps, inputs, outputs)`, finite.
            mask: bool of the same shape, True where kept; None if not pruned.
        """
        self._master.assign(self.layout.kernel(canonical))
        if mask is not None:
            self.mask_variable.assign(self.layout.kernel(mask))

    def detach(self) -> None:
        """Bakes the effective kernel into the layer's own variable."""
        self._master.assign(self._compressed(tensor_of(self._master), self.state()))
        self._master.regularizer = self._own_regularizer

    def save_own_variables(self, store: Any) -> None:
        """Stores the dense master: the layer itself saves its effective kernel.

        Layout and methods go with it, so that a file can be read without the model.
        """
        store["kernel"] = self._master
        store["order"] = np.array(self.layout.order)
        store["canonical_shape"] = np.array(self.layout.canonical_shape)
        text = json.dumps(self.plan.to_dict()).encode()
        store["plan"] = np.frombuffer(text, dtype=np.uint8)
        if self.mask_variable is not None:
            store["mask"] = self.mask_variable
        gradients = None if self.gradient_sum is None else self.gradient_sum.value()
        if gradients is not None:
            store["gradients"] = gradients

    def load_own_variables(self, store: Any) -> None:
        """Restores master and mask; a dense checkpoint has neither."""
        if "kernel" in store:
            self._master.assign(store["kernel"])
        if "mask" in store and self.mask_variable is not None:
            self.mask_variable.assign(store["mask"])
        if "gradients" in store and self.gradient_sum is not None:
            self.gradient_sum.put(store["gradients"])


def compressed_layers(model: keras.Model) -> list[KernelCompression]:
    """Returns the compression of every attached kernel, depth first."""
    return [c for c in compressions(model) if isinstance(c, KernelCompression)]
