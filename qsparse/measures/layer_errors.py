"""What pruning and rounding cost one layer: its weights, its outputs, its inputs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import keras
import numpy as np

from qsparse.analysis.dot_products import DotProductErrors, terms_of
from qsparse.analysis.tensors import TensorErrors, errors_of
from qsparse.engine.kernel import KernelCompression
from qsparse.measures.arms import (
    PRUNED,
    PRUNED_FIRST,
    QUANTIZED,
    QUANTIZED_FIRST,
    Masks,
)
from qsparse.methods.formats import name_of
from qsparse.oneshot.patches import rows_of_inputs
from qsparse.oneshot.watch import call
from qsparse.planning.targets import PRUNABLE

# Rows of inputs that products are computed of, evenly out of all there are.
_ROWS = 512

# What flows into each layer, by path, an array for each call.
Inputs = dict[str, list[np.ndarray]]


@dataclass(frozen=True)
class ProductErrors:
    """Errors of a layer's outputs, where its inputs are those of the dense model.

    Each is the L2 norm of the error over that of the outputs.

    Attributes:
        pruned: with pruned weights.
        quantized: with rounded weights and inputs.
        both: with both, by order.
        beyond: by order, the share of outputs whose error is greater than both errors
            alone together.
    """

    pruned: float
    quantized: float
    both: Mapping[str, float]
    beyond: Mapping[str, float]


@dataclass(frozen=True)
class LayerInteraction:
    """How sparsity and quantization meet in one layer.

    Attributes:
        path: where the layer lies in the model.
        weights: how many its kernel has.
        sparsity: the share of zeros in its mask.
        format: the name of what its weights are rounded to.
        tensor: L2 errors of its weights; `tensor.size` makes them relative. Errors of
            an order that was not looked at are not a number.
        swapped: the share of weights that only one of the two orders keeps; None where
            one order was looked at.
        product: errors of its outputs; None for layers whose outputs are no sums over
            all inputs, as depthwise convolutions, or that rounds nothing.
        arriving: by arm, the L2 norm of the error of what flows into the layer over
            the norm of that: what the layers before it have done.
    """

    path: str
    weights: int
    sparsity: float
    format: str
    tensor: TensorErrors
    swapped: float | None
    product: ProductErrors | None
    arriving: Mapping[str, float] = field(default_factory=dict)

    def reached(self, errors: Mapping[str, Mapping[str, float]]) -> "LayerInteraction":
        """Returns this, with the errors of what flows in: by arm, then by path."""
        own = {a: e[self.path] for a, e in errors.items() if self.path in e}
        return replace(self, arriving=own)

    def exceeds(self, order: str) -> bool:
        """Returns whether both cost more than the sum of what each costs alone.

        In the layer's outputs; in its weights, where outputs were not looked at.
        """
        if self.product is not None:
            alone = self.product.pruned + self.product.quantized
            return self.product.both[order] > alone
        first = order == PRUNED_FIRST
        tensor = self.tensor
        both = tensor.pruned_first if first else tensor.quantized_first
        return both > tensor.sum

    def to_dict(self) -> dict[str, Any]:
        """Returns a JSON-ready description."""
        return asdict(self)


def seen_inputs(
    model: keras.Model, layers: Sequence[KernelCompression], batch: Any
) -> Inputs:
    """Returns what flows into layers when a model predicts, before it is rounded.

    Args:
        model: a compressed model.
        layers: to look at. One that is not called, or called where nothing has a
            value, as in a loop that is traced, is not in the result.
        batch: what the model is called with.
    """
    found: Inputs = {}
    hidden: set[str] = set()

    def note(path: str) -> Any:
        def to_list(inputs: Any) -> None:
            try:
                values = np.asarray(keras.ops.convert_to_numpy(inputs))
            except Exception:
                hidden.add(path)
            else:
                found.setdefault(path, []).append(values)

        return to_list

    try:
        for layer in layers:
            layer.watcher = note(layer.path_in_model)
        call(model, batch)
    finally:
        for layer in layers:
            layer.watcher = None
    return {path: arrays for path, arrays in found.items() if path not in hidden}


def relative_errors(inputs: Inputs, dense: Inputs) -> dict[str, float]:
    """Returns how far inputs are from those of the dense model, by path."""
    found = {}
    for path, arrays in inputs.items():
        pairs = list(zip(arrays, dense.get(path, ()), strict=False))
        difference = sum(_power(a.astype(np.float64) - b) for a, b in pairs)
        power = sum(_power(b) for _, b in pairs)
        if power > 0:
            found[path] = float(np.sqrt(difference / power))
    return found


def _power(values: np.ndarray) -> float:
    return float(np.square(values, dtype=np.float64).sum())


def layer_interaction(
    layer: KernelCompression,
    masks: Masks,
    inputs: Sequence[np.ndarray] | None,
) -> LayerInteraction:
    """Returns how sparsity and quantization meet in a layer.

    Scales that training learns begin anew, with each form that is rounded.

    Args:
        layer: the layer, whose ranges are those of the quantized model.
        masks: by arm: `PRUNED`, and the orders that are looked at.
        inputs: what flows into it in the dense model, an array for each call; None if
            that is not known.
    """
    dense = layer.master()
    forms = _forms(layer, dense, masks)
    missing = np.full_like(dense, np.nan)
    mask, late = masks[PRUNED], masks.get(QUANTIZED_FIRST)
    swapped = None
    if mask is not None and late is not None and PRUNED_FIRST in masks:
        swapped = float((mask != late).mean())
    return LayerInteraction(
        path=layer.path_in_model,
        weights=dense.size,
        sparsity=0.0 if mask is None else 1.0 - float(mask.mean()),
        format=format_of(layer),
        tensor=errors_of(
            dense,
            forms[PRUNED],
            forms[QUANTIZED],
            forms.get(PRUNED_FIRST, missing),
            forms.get(QUANTIZED_FIRST, missing),
        ),
        swapped=swapped,
        product=_product(layer, dense, forms, inputs or ()),
    )


def _forms(
    layer: KernelCompression,
    dense: np.ndarray,
    masks: Masks,
) -> dict[str, np.ndarray]:
    """Returns the weights of a layer in each form, by arm."""

    def rounded(weights: np.ndarray) -> np.ndarray:
        if layer.plan.weight_format is None:
            return weights
        layer.begin_rounding(weights)
        return layer.rounded(weights)

    forms = {PRUNED: _masked(dense, masks[PRUNED]), QUANTIZED: rounded(dense)}
    if PRUNED_FIRST in masks:
        forms[PRUNED_FIRST] = rounded(_masked(dense, masks[PRUNED_FIRST]))
    if QUANTIZED_FIRST in masks:
        forms[QUANTIZED_FIRST] = _masked(forms[QUANTIZED], masks[QUANTIZED_FIRST])
    return forms


def format_of(layer: KernelCompression) -> str:
    """Returns the name of what a layer's weights are rounded to."""
    format = layer.plan.weight_format
    return "float" if format is None else name_of(format)


def rounding_error(
    layer: KernelCompression,
    mask: np.ndarray | None,
    rounded_mask: np.ndarray | None,
    inputs: Sequence[np.ndarray],
) -> float | None:
    """Returns what rounding costs a layer's outputs: an L2 norm, over that of these.

    Args:
        layer: a layer that has its ranges.
        mask: of its weights, where nothing is rounded; None keeps all.
        rounded_mask: the same where weights are rounded.
        inputs: what flows in where nothing is rounded, an array for each call.

    Returns:
        None for layers whose outputs are no sums over all inputs, or that rounds none.
    """
    rows = _rows(layer, inputs)
    if rows is None:
        return None
    weights = _masked(layer.master(), mask)
    late = layer.state().recipe.order == QUANTIZED_FIRST
    rounded = layer.rounded(layer.master() if late else weights)
    exact = rows[0] @ _matrix(weights)
    size = float(np.linalg.norm(exact))
    if not size > 0:
        return None
    error = exact - rows[1] @ _matrix(_masked(rounded, rounded_mask))
    return float(np.linalg.norm(error)) / size


def _product(
    layer: KernelCompression,
    dense: np.ndarray,
    forms: Mapping[str, np.ndarray],
    inputs: Sequence[np.ndarray],
) -> ProductErrors | None:
    rows = _rows(layer, inputs)
    if rows is None:
        return None
    x, rounded = rows
    size = float(np.linalg.norm(x @ _matrix(dense)))
    if not size > 0:
        return None
    found: dict[str, DotProductErrors] = {
        order: terms_of(
            x,
            rounded,
            _matrix(dense),
            _matrix(forms[PRUNED]),
            _matrix(forms[QUANTIZED]),
            _matrix(forms[order]),
        )
        for order in (PRUNED_FIRST, QUANTIZED_FIRST)
        if order in forms
    }
    any_order = next(iter(found.values()))
    return ProductErrors(
        pruned=float(np.linalg.norm(any_order.pruned)) / size,
        quantized=float(np.linalg.norm(any_order.quantized)) / size,
        both={o: float(np.linalg.norm(e.both)) / size for o, e in found.items()},
        beyond={order: errors.beyond for order, errors in found.items()},
    )


def _rows(
    layer: KernelCompression, inputs: Sequence[np.ndarray]
) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns rows that a layer multiplies by its weights, and the same rounded."""
    owner, quantizer = layer.owner(), layer.input_quantizer
    is_sum = isinstance(owner, PRUNABLE) and getattr(owner, "groups", 1) == 1
    if not is_sum or quantizer is None or not inputs:
        return None
    rounded = [quantizer.rounded(array) for array in inputs]
    return _some_rows(layer, inputs), _some_rows(layer, rounded)


def _masked(weights: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    return weights if mask is None else weights * mask


def _matrix(canonical: np.ndarray) -> np.ndarray:
    """Returns weights as `(taps and inputs, outputs)`."""
    return canonical.reshape(-1, canonical.shape[-1])


def _some_rows(layer: KernelCompression, inputs: Sequence[np.ndarray]) -> np.ndarray:
    """Returns rows that a layer multiplies by its weights, evenly out of all."""
    pieces = [
        piece
        for array in inputs
        for piece in rows_of_inputs(layer.owner(), layer.layout, array)
    ]
    rows = np.concatenate(pieces)
    return rows[:: -(-len(rows) // _ROWS)]
