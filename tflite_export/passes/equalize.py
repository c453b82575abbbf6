"""Channels between two layers brought to one size (cross-layer equalization).

An int8 tensor has one scale, on which a channel 50 times smaller than the largest has
five levels. Where ops that treat every channel alike lead from one layer to the next,
channel c leaves the first divided by a factor, and the weights that read it are
multiplied by that: the network computes the same, with no op more (Nagel et al.,
"Data-free quantization through weight equalization and bias correction", 2019,
section 4.1). All layers that join in a sum take one factor; and values keep theirs
through attention, up to the layer behind it.

    W2 f(W1 x)  ->  (W2 * factor) f((W1 / factor) x)
"""

from collections.abc import Iterable

import numpy as np

from qsparse.tflite_export.graph.channel_paths import Path, find_paths
from qsparse.tflite_export.graph.channels import (
    divide_outputs,
    head_of,
    largest_per_channel,
    multiply_inputs,
)
from qsparse.tflite_export.graph.graph import Graph
from qsparse.tflite_export.graph.weighted import by_channel, data_input
from qsparse.tflite_export.passes.base import Context, DecidingPass

# A small channel behind ReLU6 that grows to the size of the others is cut at what it
# reached in calibration. Pretrained networks lose more by that than by two bits.
_HEADROOM = 4.0
# Finer steps than what rounding the input of the layer moves are of no use; and
# XNNPACK takes no layer in which one step moves the output by 256.
_MOST_STEPS = 16.0
# A channel that is smaller yet would bring weights near the ends of float32.
_LEAST = 2.0**-20
_TINY = 1e-30  # instead of zero, where a layer computes nothing else


class Equalize(DecidingPass[Path]):
    """Brings the channels of every path to the size of its largest."""

    name = "equalize"
    least = _LEAST

    def find(self, graph: Graph, context: Context) -> list[Path]:
        """Returns the paths between layers in int8."""
        floating = context.sums | context.normalizing | context.divided | context.ends
        return find_paths(graph, floating, context.fixed)

    def channels(self, graph: Graph, site: Path) -> int:
        """Returns the channels of the path."""
        return site.channels

    def decide(
        self, graph: Graph, context: Context, sites: list[Path]
    ) -> list[np.ndarray]:
        """Returns what each channel is divided by."""
        return _factors(graph, sites, context.batches)

    def rewrite(
        self,
        graph: Graph,
        context: Context,
        sites: list[Path],
        decided: list[np.ndarray],
    ) -> None:
        """Divides what leaves the first layers, multiplies what the last read."""
        for path, factor in zip(sites, decided, strict=True):
            if not factor.size:
                continue
            for node in path.producers:
                divide_outputs(graph, node, factor)
            for node, channels in path.consumers:
                multiply_inputs(graph, node, factor[channels])


def _factors(
    graph: Graph, paths: list[Path], batches: Iterable[list[np.ndarray]]
) -> list[np.ndarray]:
    inputs = {
        data_input(head_of(graph, node)) for path in paths for node in path.producers
    }
    tensors = sorted(inputs.union(*(path.ranged for path in paths)))
    found = largest_per_channel(graph, tensors, batches)
    largest = dict(zip(tensors, found, strict=True))
    return [_factor(graph, path, largest) for path in paths]


def _factor(graph: Graph, path: Path, largest: dict[str, np.ndarray]) -> np.ndarray:
    """Returns what each channel is divided by, at most 1; empty if all are 1."""
    users = graph.users()
    tops = {tensor: largest[tensor].max() for tensor in path.ranged}
    alive = [largest[tensor] / top for tensor, top in tops.items() if top > 0]
    if not alive:
        return np.zeros(0, np.float32)
    size = np.max(alive, axis=0)
    factor = np.minimum(size * _HEADROOM, 1) if path.clipped else size
    for node in path.producers:
        head = head_of(graph, node)
        weights = np.abs(by_channel(head, graph.value(head.input[1]))).max(axis=1)
        # A fused activation has the range, and not the layer.
        fused = node.name not in tops
        top = tops[users[node.name][0].name if fused else node.name]
        reached = largest[data_input(head)].max() * weights / max(top, _TINY)
        factor = np.maximum(factor, reached / _MOST_STEPS)
    factor = np.clip(factor, _LEAST, 1)
    factor = np.where(size > 0, factor, 1).astype(np.float32)
    return factor if factor.min() < 1 else np.zeros(0, np.float32)
