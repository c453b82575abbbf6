"""What rounding weights shifts on average is taken back by the biases.

An output channel that loses `W - round(W)` of its weights shifts by that times the
mean of its inputs, on every sample alike (Nagel et al., "Data-free quantization
through weight equalization and bias correction", 2019, section 4.2).

    round(W) x + b  ->  round(W) x + (b + mean((W - round(W)) x))
"""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.run import measure
from qsparse.tflite_export.graph.weighted import by_channel, channel_count
from qsparse.tflite_export.passes.base import ROUNDING, Context, DecidingPass


class CorrectBiases(DecidingPass[tuple[Node, Node]]):
    """Adds the mean shift of every output channel to its bias."""

    name = "correct_biases"
    tolerance = ROUNDING  # a part of what rounding did

    def find(self, graph: Graph, context: Context) -> list[tuple[Node, Node]]:
        """Returns biases, and the products before them whose weights were rounded."""
        heads = [
            (node, graph.nodes[node_name(node.input[0])])
            for node in graph.nodes.values()
            if node.op == "BiasAdd"
            and node_name(node.input[0]) in context.unrounded
            and graph.is_constant(node.input[1])
        ]
        # Outputs of a transposed convolution do not all see the same taps.
        return [pair for pair in heads if pair[1].op != "Conv2DBackpropInput"]

    def channels(self, graph: Graph, site: tuple[Node, Node]) -> int:
        """Returns the output channels of the product."""
        return channel_count(graph, site[1]) or 0

    def decide(
        self, graph: Graph, context: Context, sites: list[tuple[Node, Node]]
    ) -> list[np.ndarray]:
        """Returns the mean shift of every channel."""
        heads = [head for _, head in sites]
        return _shifts(graph, heads, context.unrounded, context.batches)

    def rewrite(
        self,
        graph: Graph,
        context: Context,
        sites: list[tuple[Node, Node]],
        decided: list[np.ndarray],
    ) -> None:
        """Adds the shifts."""
        for (bias, _), shift in zip(sites, decided, strict=True):
            if shift.size:
                value = graph.value(bias.input[1]) + shift
                bias.input[1] = graph.add_constant(f"{bias.name}/corrected", value)


def _shifts(
    graph: Graph,
    heads: list[Node],
    exact: Mapping[str, np.ndarray],
    batches: Iterable[list[np.ndarray]],
) -> list[np.ndarray]:
    sources = [head.input[0] for head in heads]

    def means(get: Callable[[str], tf.Tensor]) -> list[tf.Tensor]:
        return [
            tf.reduce_mean(tf.reshape(get(t), (-1, graph.shapes[t][-1])), axis=0)
            for t in sources
        ]

    total = [np.zeros(graph.shapes[t][-1]) for t in sources]
    count = 0
    for found in measure(graph, means, batches):
        total = [a + b for a, b in zip(total, found, strict=True)]
        count += 1
    return [
        _shift(graph, head, exact[head.name], mean / max(count, 1))
        for head, mean in zip(heads, total, strict=True)
    ]


def _shift(
    graph: Graph, head: Node, weights: np.ndarray, mean: np.ndarray
) -> np.ndarray:
    """Returns the mean shift of each output channel, float32."""
    lost = by_channel(head, weights) - by_channel(head, graph.value(head.input[1]))
    if head.op == "DepthwiseConv2dNative":
        multiplier = len(lost) // len(mean)
        return (lost.sum(axis=1) * np.repeat(mean, multiplier)).astype(np.float32)
    # The input channels of a group come last, whatever taps stand in front of them.
    inputs = weights.shape[2] if head.op == "Conv2D" else len(mean)
    groups = len(mean) // inputs
    taps = lost.reshape(groups, len(lost) // groups, -1, inputs).sum(axis=2)
    return np.einsum("goi,gi->go", taps, mean.reshape(groups, inputs)).reshape(-1)
