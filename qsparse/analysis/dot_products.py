"""Dot products: where errors of pruning and of quantization meet."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from keras import ops

from qsparse.analysis.arguments import compressed
from qsparse.methods.formats import FORMATS, check_activations


@dataclass(frozen=True, eq=False)
class DotProductErrors:
    """Errors of `x @ w`, each float64 `(samples, outputs)`.

    With `Q(S(w))` for the weights and `q(x)` for the activations, exactly

        both = pruned + quantized + weights_meet + activations_meet

    (theorem 3.9). The first two are what each costs alone. The others have no fixed
    sign, so that both together may cost more than the sum, in any order.

    Attributes:
        both: `x w - q(x) Q(S(w))`.
        pruned: `x w - x S(w)`.
        quantized: `x w - q(x) Q(w)`.
        weights_meet: rounding errors of weights that are pruned anyway, and what
            rounding changes because others are gone:
            `-q(x) ((w - Q(w)) - (S(w) - Q(S(w))))`.
        activations_meet: rounding errors of activations that meet pruned weights:
            `-(x - q(x)) (w - S(w))`.
    """

    both: np.ndarray
    pruned: np.ndarray
    quantized: np.ndarray
    weights_meet: np.ndarray
    activations_meet: np.ndarray

    @property
    def beyond(self) -> float:
        """The share of dot products that are worse than `|pruned| + |quantized|`."""
        alone = np.abs(self.pruned) + np.abs(self.quantized)
        return float((np.abs(self.both) > alone).mean())


def dot_product_errors(
    activations: Any,
    weights: Any,
    pattern: Any,
    format: Any,
    *,
    sparsity: float | None = None,
    activation_format: Any = None,
) -> DotProductErrors:
    """Takes the error of a compressed matrix product apart.

    Args:
        activations: float `(samples, inputs)`, finite: what flows into the layer.
        weights: float `(inputs, outputs)`, finite.
        pattern: of the mask, as of `qsparse.Recipe`.
        format: of the weights, as of `qsparse.Recipe`.
        sparsity: share of zeros; None for what an N:M pattern implies.
        activation_format: of the activations; None: that of the weights. One with
            ranges has those of these activations.

    Raises:
        ValueError: if one of them is none of these, or shapes do not fit.
    """
    tensor = compressed(weights, pattern, format, sparsity)
    x = np.asarray(activations, np.float32)
    inputs = tensor.weights.shape[1]
    if len(tensor.weights) != 1 or x.ndim != 2 or x.shape[1] != inputs or not len(x):
        raise ValueError(
            "A product takes activations (samples, inputs) and weights (inputs, "
            f"outputs). Received shapes {x.shape} and {np.shape(weights)}"
        )
    if not np.isfinite(x).all():
        raise ValueError("`activations` must be finite; some are NaN or infinite.")
    if activation_format is not None:
        check_activations(FORMATS.get(activation_format))
    rounds = FORMATS.get(activation_format or tensor.format)
    low, high = np.minimum(x.min(), 0.0), np.maximum(x.max(), 0.0)
    high = high if high > low else np.float32(1.0)  # All are 0, in any range.
    tensor_of_x = ops.convert_to_tensor(x)
    rounded = np.asarray(
        ops.convert_to_numpy(rounds.fake_activations(tensor_of_x, low, high))
    )
    dense, pruned, quantized, both = (
        each[0]
        for each in (
            tensor.weights,
            tensor.pruned,
            tensor.quantized,
            tensor.pruned_first,
        )
    )
    return terms_of(x, rounded, dense, pruned, quantized, both)


def terms_of(
    x: np.ndarray,
    rounded: np.ndarray,
    weights: np.ndarray,
    pruned: np.ndarray,
    quantized: np.ndarray,
    both: np.ndarray,
) -> DotProductErrors:
    """Takes the error of a product apart whose factors are there in all their forms.

    Args:
        x: activations `(samples, inputs)`.
        rounded: `q(x)`.
        weights: `(inputs, outputs)`, like all that follow.
        pruned: `S(w)`.
        quantized: `Q(w)`.
        both: `Q(S(w))`, or `S(Q(w))`: the identity holds for either.
    """
    x, rounded, weights, pruned, quantized, both = (
        each.astype(np.float64)
        for each in (x, rounded, weights, pruned, quantized, both)
    )
    whole = x @ weights
    return DotProductErrors(
        both=whole - rounded @ both,
        pruned=whole - x @ pruned,
        quantized=whole - rounded @ quantized,
        weights_meet=-rounded @ ((weights - quantized) - (pruned - both)),
        activations_meet=-(x - rounded) @ (weights - pruned),
    )
