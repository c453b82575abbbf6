"""Gives every tensor of a graph that LiteRT computes in int8 its range."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.graph.composites import Gate, find_composites, means_to_sums
from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph, node_name
from qsparse.tflite_export.graph.ops import AVERAGES
from qsparse.tflite_export.graph.ranges import Range, choose, kept_from, take_trained
from qsparse.tflite_export.graph.run import measure
from qsparse.tflite_export.passes.bake import bake_biases, bake_weights
from qsparse.tflite_export.passes.bias_correction import correct_biases
from qsparse.tflite_export.passes.depthwise import to_depthwise
from qsparse.tflite_export.passes.equalize import equalize
from qsparse.tflite_export.passes.float_ends import (
    float_joins,
    leading_affine,
    uneven_inputs,
)
from qsparse.tflite_export.passes.kept_apart import keep_apart
from qsparse.tflite_export.passes.masked_scores import (
    factor_masks,
    least_score,
    limit_constant_masks,
    limit_masks,
    score_tensors,
)
from qsparse.tflite_export.passes.neuron_groups import group_neurons
from qsparse.tflite_export.passes.one_scale import round_operands, share_ranges
from qsparse.tflite_export.passes.patches import patch_convolutions
from qsparse.tflite_export.passes.record import Choices
from qsparse.tflite_export.passes.residuals import float_sums, scale_channels
from qsparse.tflite_export.passes.reversals import to_slices
from qsparse.tflite_export.passes.safe_scales import widen
from qsparse.tflite_export.passes.simplify import simplify
from qsparse.tflite_export.passes.smoothing import smooth

# |gelu(-4)| is 1e-4, and hard-swish is zero below -3.
_GATE_IS_SHUT = -4.0
_SHUT = 1e-3  # greatest magnitude behind a gate that is shut


def quantize_activations(
    graph: Graph,
    batches: Iterable[list[np.ndarray]],
    choices: Choices | None = None,
    float_ends: bool = False,
) -> dict[str, Range]:
    """Simplifies a frozen graph and puts fake-quant nodes where LiteRT needs them.

    Ranges that training left in the graph are used as they are; the other tensors
    get the least and the greatest value they take on `batches`, with the trained
    ranges already in effect.

    Args:
        graph: a frozen graph; changed in place.
        batches: representative samples, one list of inputs per batch.
        choices: takes down what else is decided from the batches.
        float_ends: whether inputs and outputs of the file are float.

    Returns:
        tensor -> range, in topological order.
    """
    batches = list(batches)
    choices = Choices() if choices is None else choices
    layout = choose_ranges(graph, choices, batches, float_ends)
    known = {t: r for t, r in layout.ranges.items() if r.source != "calibrated"}
    _insert(graph, known, layout.exempt)
    missing = {t: r for t, r in layout.ranges.items() if t not in known}
    measured = _measure(graph, missing, layout.gates, batches)
    ranges = {**known, **measured}
    share_ranges(graph, ranges)
    for tensor in widen(graph, ranges) & known.keys():
        _set_limits(graph, tensor, ranges[tensor])
    insert_ranges(graph, {t: ranges[t] for t in measured}, layout.exempt)
    return ranges


@dataclass(frozen=True)
class Layout:
    """Where ranges go.

    Attributes:
        ranges: tensor -> range; those to calibrate are still empty.
        exempt: tensor -> nodes that read it unrounded.
        gates: the gated activations.
    """

    ranges: dict[str, Range]
    exempt: dict[str, set[str]]
    gates: list[Gate]


def choose_ranges(
    graph: Graph,
    choices: Choices,
    batches: Iterable[list[np.ndarray]] = (),
    float_ends: bool = False,
) -> Layout:
    """Simplifies a frozen graph and says which of its tensors get a range.

    Args:
        graph: a frozen graph; changed in place.
        choices: takes down, or repeats, what is decided from the batches.
        batches: see `quantize_activations`; not needed where choices are repeated.
        float_ends: whether inputs and outputs of the file are float.
    """
    trained = take_trained(graph)
    fixed = trained.fixed
    simplify(graph, fixed)
    to_slices(graph)
    factor_masks(graph)
    uneven = uneven_inputs(graph)
    joins = float_joins(graph) if float_ends else set()
    for tensor in joins:
        trained.drop(tensor)  # every part has one
    affine = leading_affine(graph) if float_ends else set()
    to_depthwise(graph, fixed | affine)
    if not float_ends:
        affine = leading_affine(graph, uneven)
    ends = affine | joins
    found = find_composites(graph)
    sums = float_sums(graph, found.normalizing)
    apart = group_neurons(graph, found.gates, sums, fixed, choices, batches)
    found = find_composites(graph)
    means_to_sums(graph, found)
    apart |= patch_convolutions(graph, found.normalizing, fixed)
    sums = float_sums(graph, found.normalizing) | apart
    divided = smooth(graph, sums | found.normalizing, fixed, choices, batches)
    channelwise = sums | found.normalizing | divided | ends
    equalize(graph, channelwise, fixed, choices, batches)
    correct_biases(graph, bake_weights(graph, apart), choices, batches)
    multiplied = scale_channels(
        graph, sums, found.normalizing, fixed | apart, choices, batches
    )
    # What a normalization or a float sum computes is read as it is by float nodes,
    # unless training saw it rounded there.
    floating = sums | divided | multiplied | ends
    inputs = set(graph.inputs.values())
    as_is = floating | found.normalizing
    exempt = {
        tensor: as_is - trained.readers.get(tensor, set())
        for tensor in graph.nodes
        if tensor in as_is | (inputs if float_ends else set())
    }
    interior = found.interior | (sums - fixed) | multiplied | joins
    rounded = set() if float_ends else _read_by(graph, affine) & inputs
    ranges = choose(graph, trained.ranges, interior, floating, rounded)
    return Layout(ranges, exempt, found.gates)


def _read_by(graph: Graph, nodes: set[str]) -> set[str]:
    return {tensor for name in nodes for tensor in graph.nodes[name].input}


def insert_ranges(
    graph: Graph, ranges: dict[str, Range], exempt: dict[str, set[str]]
) -> None:
    """Puts the last fake-quant nodes into a graph.

    Args:
        graph: what `choose_ranges` left; changed in place.
        ranges: tensor -> range.
        exempt: tensor -> nodes that read it unrounded.
    """
    limit_constant_masks(graph, ranges)
    _insert(graph, ranges, exempt)
    round_operands(graph)
    _round_averages(graph)
    bake_biases(graph)


def keep_float(graph: Graph) -> None:
    """Simplifies a frozen graph whose activations stay float.

    Ranges that training left in it are taken out; weights stay as they are.

    Args:
        graph: a frozen graph; changed in place.
    """
    take_trained(graph)
    simplify(graph, set())
    keep_apart(graph)


def count_sources(ranges: dict[str, Range]) -> dict[str, int]:
    """Returns how many ranges were trained, calibrated and fixed."""
    counts = {"trained": 0, "calibrated": 0, "fixed": 0}
    for entry in ranges.values():
        counts[entry.source] += 1
    return counts


def _measure(
    graph: Graph,
    missing: dict[str, Range],
    gates: list[Gate],
    batches: Iterable[list[np.ndarray]],
) -> dict[str, Range]:
    """Runs the graph and returns the range each tensor takes."""
    tensors = list(missing)
    if not tensors:
        return {}

    scores = score_tensors(graph)

    def extremes(get: Callable[[str], tf.Tensor]) -> tuple[tf.Tensor, ...]:
        values = {tensor: get(tensor) for tensor in tensors}
        lows = [
            tf.reduce_min([least_score(get(read)) for read in scores[tensor]])
            if tensor in scores
            else tf.reduce_min(value)
            for tensor, value in values.items()
        ]
        highs = [tf.reduce_max(value) for value in values.values()]
        return tf.stack(lows), tf.stack(highs), open_from(get)

    def open_from(get: Callable[[str], tf.Tensor]) -> tf.Tensor:
        pairs = [(get(gate.base), get(gate.end)) for gate in gates]
        zero = tf.zeros((), tf.float32)
        return tf.stack(
            [tf.reduce_min(tf.where(tf.abs(y) > _SHUT, x, zero)) for x, y in pairs]
            or [zero]
        )

    low = np.full(len(tensors), np.inf)
    high = np.full(len(tensors), -np.inf)
    opening = np.zeros(max(len(gates), 1))
    for least, greatest, opened in measure(graph, extremes, batches):
        opening = np.minimum(opening, opened)
        low = np.minimum(low, least)
        high = np.maximum(high, greatest)
    for index, tensor in enumerate(tensors):
        table = _table(graph, tensor)
        if table is not None:  # every row, not only those the samples look up
            low[index], high[index] = table.min(), table.max()
        if not np.isfinite([low[index], high[index]]).all():
            raise ValueError(
                f"tensor {tensor!r} takes NaN or infinite values on "
                "representative_data, so it has no range. Check the weights and the "
                "scale of the data."
            )
    found = {
        tensor: replace(entry, low=float(low[i]), high=float(high[i]))
        for i, (tensor, entry) in enumerate(missing.items())
    }
    limit_masks(graph, found)
    # An activation of another form, such as x * tanh(x), may never shut.
    shut = [g for g, x in zip(gates, opening, strict=False) if x >= _GATE_IS_SHUT]
    _limit_gates(graph, shut, found)
    return {tensor: entry.nudged() for tensor, entry in found.items()}


def _limit_gates(graph: Graph, gates: list[Gate], ranges: dict[str, Range]) -> None:
    """Ends ranges where a gated activation is as good as zero below."""
    users = graph.users()
    outputs = set(graph.outputs.values())
    for gate in gates:
        tensor, readers = gate.base, gate.inside | {gate.end}
        while (
            tensor not in outputs and {user.name for user in users[tensor]} <= readers
        ):
            if tensor in ranges:
                ranges[tensor].low = max(ranges[tensor].low, _GATE_IS_SHUT)
            node = graph.nodes[node_name(tensor)]
            kept = kept_from(graph, node)
            if kept is None:
                break
            tensor, readers = kept, {node.name}


def _table(graph: Graph, tensor: str) -> np.ndarray | None:
    node = graph.nodes[node_name(tensor)]
    if node.op in ("Gather", "GatherV2"):
        return graph.constant(node.input[0])
    return None


def _insert(
    graph: Graph, ranges: dict[str, Range], exempt: dict[str, set[str]]
) -> None:
    """Appends an 8-bit fake-quant node to each tensor, for its readers.

    Args:
        graph: the graph; changed in place.
        ranges: tensor -> range.
        exempt: tensor -> nodes that go on reading it as it is.
    """
    for tensor, entry in ranges.items():
        limits = _limits(graph, tensor, entry)
        name = graph.add_node(
            f"{node_name(tensor)}/fake_quant",
            FAKE_QUANT,
            [tensor, *limits],
            num_bits=8,
            narrow_range=False,
        )
        graph.rewire(tensor, name, keep=[name, *exempt.get(tensor, ())])
    graph.refresh()


def _limits(graph: Graph, tensor: str, entry: Range) -> list[str]:
    return [
        graph.add_constant(
            f"{node_name(tensor)}/range_{end}", np.asarray(value, np.float32)
        )
        for end, value in (("low", entry.low), ("high", entry.high))
    ]


def _set_limits(graph: Graph, tensor: str, entry: Range) -> None:
    for node in list(graph.nodes.values()):
        if node.op == FAKE_QUANT and node.input[0] == tensor:
            node.input[1:] = _limits(graph, tensor, entry)


def _round_averages(graph: Graph) -> None:
    """Rounds what leaves an average to the scale of what enters it.

    That is how LiteRT computes it.
    """
    for node in list(graph.nodes.values()):
        if node.op not in AVERAGES:
            continue
        before = graph.nodes[node_name(node.input[0])]
        while before.op in AVERAGES or kept_from(graph, before) is not None:
            source = kept_from(graph, before) or before.input[0]
            before = graph.nodes[node_name(source)]
        if before.op != FAKE_QUANT:
            continue
        name = graph.add_node(
            f"{node.name}/same_scale",
            FAKE_QUANT,
            [node.name, *before.input[1:]],
            num_bits=8,
            narrow_range=False,
        )
        graph.rewire(node.name, name, keep=[name])
    graph.refresh()
