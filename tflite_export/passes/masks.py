"""Attention scores: what a mask hides must not stretch their range.

A mask puts -1e9, or so, in the place of a score. On a scale that reaches there, all
scores are one and the same. Below the greatest score of its row by more than
`_NEGLIGIBLE`, a score makes no difference to a softmax, so the range ends there.
"""

from collections import defaultdict
from collections.abc import Container, Iterator
from dataclasses import replace

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.graph import Graph, Node, node_name
from qsparse.tflite_export.graph.ops import SAME_SCALE, SELECTS, SUMS
from qsparse.tflite_export.graph.ranges import Range, root_of

# exp(-12) is 6e-6; the steps of an int8 softmax are 4e-3.
_NEGLIGIBLE = 12.0
HIDDEN = -1e4  # no score is that small; float16 models mask with -6e4
_SUMS = SUMS | {"BiasAdd"}  # Keras adds (1, 1, n) as a bias


def score_tensors(graph: Graph) -> dict[str, list[str]]:
    """Returns the tensors whose range nothing but softmaxes reads.

    Returns:
        tensor -> what the softmaxes read: the tensor, perhaps reshaped.
    """
    users = graph.users()
    found = defaultdict(list)
    for node in graph.nodes.values():
        if node.op == "Softmax":
            found[root_of(graph, node.input[0])].append(node.input[0])
    return {
        tensor: inputs
        for tensor, inputs in found.items()
        if _only_read_by(graph, users, tensor, {"Softmax"})
    }


def least_score(scores: tf.Tensor) -> tf.Tensor:
    """Returns the least score that counts; rows that are hidden whole do not.

    Args:
        scores: the input of a softmax over the last axis.
    """
    greatest = tf.reduce_max(scores, axis=-1)
    counting = tf.where(greatest > HIDDEN, greatest, tf.zeros_like(greatest))
    least = tf.reduce_min(counting) - _NEGLIGIBLE
    return tf.maximum(tf.reduce_min(scores), least)


def limit_masks(graph: Graph, ranges: dict[str, Range]) -> None:
    """Ends the range of what is added to scores where it hides any of them.

    LiteRT adds on a scale that both sides fit, where -1e9 would leave nothing of the
    scores.

    Args:
        graph: the graph.
        ranges: tensor -> measured range; changed in place.
    """
    lows: dict[str, float] = {}
    for _, _, tensor, low in summands(graph, ranges):
        if tensor in ranges and ranges[tensor].low < HIDDEN:
            lows[tensor] = min(low, lows.get(tensor, 0.0))  # it may serve many layers
    for tensor, low in lows.items():
        ranges[tensor].low = low
    _limit_selected(graph, ranges)


def _limit_selected(graph: Graph, ranges: dict[str, Range]) -> None:
    """Gives scores that a mask replaces the range of those it leaves.

    LiteRT selects on one scale; with another, scores would be rounded twice.
    """
    users = graph.users()
    for tensor in score_tensors(graph):
        node = graph.nodes[node_name(tensor)]
        if node.op not in SELECTS or tensor not in ranges:
            continue
        values = [graph.constant(branch) for branch in node.input[1:]]
        for branch, value in zip(node.input[1:], reversed(values), strict=True):
            root = root_of(graph, branch)
            hides = value is not None and bool((value <= HIDDEN).all())
            if hides and root in ranges and ranges[root].source == "calibrated":
                if _readers(graph, users, root) == [node]:
                    entry = ranges[tensor]
                    ranges[root] = replace(ranges[root], low=entry.low, high=entry.high)


def summands(
    graph: Graph, ranges: dict[str, Range]
) -> Iterator[tuple[Node, int, str, float]]:
    """Yields what is added to scores.

    Yields:
        the sum, which of its inputs, the tensor whose range that has, and the value
        below which it hides every score.
    """
    users = graph.users()
    for tensor in score_tensors(graph):
        entry = ranges.get(tensor)
        if entry is None or entry.source != "calibrated":
            continue
        waiting = [(tensor, min(entry.low, 0.0) - _NEGLIGIBLE)]
        while waiting:
            reached, low = waiting.pop()
            node = graph.nodes[node_name(reached)]
            if node.op not in _SUMS:
                continue
            roots = [root_of(graph, operand) for operand in node.input]
            highs = [_greatest(graph, ranges, root) for root in roots]
            # LiteRT cannot add 1e9 - 1e9 into the range of scores.
            if max(highs) > -HIDDEN:
                continue
            for position, root in enumerate(roots):
                least = low - max(highs[1 - position], 0.0)
                if graph.is_constant(root):
                    yield node, position, root, least
                elif root in ranges and _can_shrink(graph, users, ranges, root):
                    yield node, position, root, least
                    waiting.append((root, least))


def _greatest(graph: Graph, ranges: dict[str, Range], tensor: str) -> float:
    value = graph.constant(tensor)
    if value is not None:
        return float(value.max(initial=0.0))
    return ranges[tensor].high if tensor in ranges else np.inf


def _can_shrink(
    graph: Graph, users: dict, ranges: dict[str, Range], tensor: str
) -> bool:
    """Whether only sums see a tensor, and its range may end at that of scores."""
    node = graph.nodes[node_name(tensor)]
    if node.op in _SUMS:
        operands = [_greatest(graph, ranges, root_of(graph, t)) for t in node.input]
        if max(operands) > -HIDDEN:
            return False
    return _only_read_by(graph, users, tensor, _SUMS)


def _only_read_by(graph: Graph, users: dict, tensor: str, ops: Container[str]) -> bool:
    """Whether nothing else reads a tensor, as it is or moved."""
    readers = _readers(graph, users, tensor)
    return readers is not None and all(node.op in ops for node in readers)


def _readers(graph: Graph, users: dict, tensor: str) -> list[Node] | None:
    """Returns what reads a tensor, as it is or moved; None if it is an output."""
    outputs = set(graph.outputs.values())
    found: list[Node] = []
    waiting = [tensor]
    while waiting:
        read = waiting.pop()
        if read in outputs:
            return None
        for user in users[read]:
            if user.op in SAME_SCALE and root_of(graph, user.name) == tensor:
                waiting.append(user.name)
            else:
                found.append(user)
    return found
