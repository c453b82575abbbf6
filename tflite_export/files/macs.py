"""How many multiply-accumulates an op does, from its shapes.

Sums of products count: convolutions, matrix products and the cells of fused recurrent
ops. Additions, activations, pools and table lookups are no multiply-accumulates.
"""

import math
from typing import Any, NamedTuple

Shape = tuple[int, ...]
# (weights, products that one invocation makes with each of their elements)
Uses = list[tuple[Any, int]]

_LSTM = (*range(1, 9), 16)  # input, recurrent and projection weights
# The same of the other direction, and those of the auxiliary input.
_TWO_LSTMS = (*_LSTM, *range(18, 26), 33, *range(40, 48))
_TWO_RNNS = (1, 2, 5, 6, 10, 11)


class _Weighted(NamedTuple):
    """An op that multiplies by weights.

    Attributes:
        places: which of its inputs are weights; absent ones are skipped.
        rank: dimensions of the weights.
        result: axis of the weights that is the last axis of the output; None if the
            weights meet every vector along the last axis of the first input.
    """

    places: tuple[int, ...]
    rank: int
    result: int | None


_WEIGHTED = {
    "FULLY_CONNECTED": _Weighted((1,), 2, 0),
    "CONV_2D": _Weighted((1,), 4, 0),
    "DEPTHWISE_CONV_2D": _Weighted((1,), 4, 3),
    "CONV_3D": _Weighted((1,), 5, 4),
    "SVDF": _Weighted((1, 2), 2, None),
    "RNN": _Weighted((1, 2), 2, None),
    "UNIDIRECTIONAL_SEQUENCE_RNN": _Weighted((1, 2), 2, None),
    "BIDIRECTIONAL_SEQUENCE_RNN": _Weighted(_TWO_RNNS, 2, None),
    "LSTM": _Weighted(_LSTM, 2, None),
    "UNIDIRECTIONAL_SEQUENCE_LSTM": _Weighted(_LSTM, 2, None),
    "BIDIRECTIONAL_SEQUENCE_LSTM": _Weighted(_TWO_LSTMS, 2, None),
}
# Their second input is the weights, their third the image; axis of its channels.
_TRANSPOSED = {"TRANSPOSE_CONV": (4, 3), "CONV_3D_TRANSPOSE": (5, 4)}
# Ops that LiteRT runs with float activations and integer weights.
HYBRID = frozenset(_WEIGHTED) - {"CONV_3D"}
# What these multiply stands in their options, or nowhere.
_UNKNOWN = (
    "CUSTOM",
    "DELEGATE",
    "STABLEHLO_CONVOLUTION",
    "STABLEHLO_DOT_GENERAL",
    "STABLEHLO_CUSTOM_CALL",
    "STABLEHLO_REDUCE",
    "STABLEHLO_REDUCE_WINDOW",
    "STABLEHLO_WHILE",
    "STABLEHLO_CASE",
)


def weight_rank(name: str) -> int | None:
    """Returns how many dimensions the weights of an op have; None if it has none."""
    if name in _TRANSPOSED:
        return _TRANSPOSED[name][0]
    return _WEIGHTED[name].rank if name in _WEIGHTED else None


def weight_places(name: str) -> tuple[int, ...]:
    """Returns which inputs of an op are weights."""
    if name in _TRANSPOSED:
        return (1,)
    return _WEIGHTED[name].places if name in _WEIGHTED else ()


def weight_uses(name: str, inputs: tuple, outputs: tuple) -> Uses:
    """Returns the weights of an op, and the products made with each element of them.

    Args:
        name: the op.
        inputs: its inputs; None where an optional one is absent.
        outputs: its outputs.
    """
    rank = weight_rank(name)
    found = [
        inputs[place]
        for place in weight_places(name)
        if place < len(inputs) and inputs[place] is not None
    ]
    if any(len(weights.shape) != rank for weights in found):
        return []
    return [(weights, _uses(name, weights.shape, inputs, outputs)) for weights in found]


def count_macs(name: str, inputs: tuple, outputs: tuple, options: Any) -> int | None:
    """Returns the multiply-accumulates of one invocation; None if they are unknown.

    Args:
        name: the op.
        inputs: its inputs; None where an optional one is absent.
        outputs: its outputs.
        options: its builtin options.
    """
    if name.split(" ")[0] in _UNKNOWN:
        return None
    if name == "BATCH_MATMUL":
        return _batch_matmul(inputs, outputs, options)
    uses = weight_uses(name, inputs, outputs)
    if not uses and weight_places(name):
        return None
    return sum(times * math.prod(weights.shape) for weights, times in uses)


def _uses(name: str, weights: Shape, inputs: tuple, outputs: tuple) -> int:
    if name in _TRANSPOSED:  # every value of the image meets all weights of its channel
        image = inputs[2].shape if len(inputs) > 2 and inputs[2] is not None else ()
        return math.prod(image) // max(weights[_TRANSPOSED[name][1]], 1)
    axis = _WEIGHTED[name].result
    if axis is None:
        vectors = inputs[0].shape[:-1] if inputs[0] is not None else ()
        return math.prod(vectors)
    size = math.prod(outputs[0].shape) if outputs else 0
    return size // max(weights[axis], 1)


def _batch_matmul(inputs: tuple, outputs: tuple, options: Any) -> int | None:
    if not inputs or inputs[0] is None or not outputs or len(inputs[0].shape) < 2:
        return None
    depth = inputs[0].shape[-2 if getattr(options, "adjX", False) else -1]
    return math.prod(outputs[0].shape) * depth
