"""Attention scores: what a mask hides must not stretch their range.

A mask puts -1e9, or so, in the place of a score. On a scale that reaches there, all
scores are one and the same. Below the greatest score of its row by more than
`_NEGLIGIBLE`, a score makes no difference to a softmax, so the range ends there.
"""

import tensorflow as tf

from qsparse.tflite_export.graph import Graph, node_name
from qsparse.tflite_export.ranges import Range, root_of

# exp(-12) is 6e-6; the steps of an int8 softmax are 4e-3.
_NEGLIGIBLE = 12.0
_HIDDEN = -1e4  # no score is that small; float16 models mask with -6e4
_SUMS = ("Add", "AddV2")


def score_tensors(graph: Graph) -> set[str]:
    """Returns the tensors whose range a softmax reads."""
    return {
        root_of(graph, node.input[0])
        for node in graph.nodes.values()
        if node.op == "Softmax"
    }


def least_score(scores: tf.Tensor) -> tf.Tensor:
    """Returns the least score that counts; rows that are hidden whole do not.

    Args:
        scores: the input of a softmax over the last axis.
    """
    greatest = tf.reduce_max(scores, axis=-1)
    counting = tf.where(greatest > _HIDDEN, greatest, tf.zeros_like(greatest))
    least = tf.reduce_min(counting) - _NEGLIGIBLE
    return tf.maximum(tf.reduce_min(scores), least)


def limit_masks(graph: Graph, scores: set[str], ranges: dict[str, Range]) -> None:
    """Ends the range of what is added to scores where it hides any of them.

    LiteRT adds on a scale that both sides fit, where -1e9 would leave nothing of the
    scores.

    Args:
        graph: the graph.
        scores: what `score_tensors` returns.
        ranges: tensor -> measured range; changed in place.
    """
    for tensor in scores & ranges.keys():
        node = graph.nodes[node_name(tensor)]
        if node.op not in _SUMS:
            continue
        span = ranges[tensor].high - ranges[tensor].low
        for operand in node.input:
            entry = ranges.get(root_of(graph, operand))
            if entry is not None and entry.low < _HIDDEN:
                entry.low = -span - _NEGLIGIBLE
