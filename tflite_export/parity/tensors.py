"""Compares a file with its fake-quantized model tensor by tensor.

Two differences are measured, in LSBs (steps of the tensor's scale). The *accumulated*
one: both sides run from the input of the model, as they do for a user. The *local* one:
the graph gets, in the place of each quantized tensor, what the file computed for it, so
that an op shows what it adds itself and not what it inherits.

The file runs in XNNPACK as it does for a user: its inner tensors are made outputs of
the graph in a copy, which keeps them in memory and changes no kernel.
"""

import copy
from dataclasses import dataclass
from itertools import permutations
from typing import Any

import numpy as np
import tensorflow as tf

from qsparse.tflite_export.files.model_file import ModelFile
from qsparse.tflite_export.files.model_parts import Tensor
from qsparse.tflite_export.graph.graph import FAKE_QUANT, Graph
from qsparse.tflite_export.graph.run import runnable
from qsparse.tflite_export.parity.difference import (
    ROUNDING_LSB,
    Difference,
    TensorParity,
)
from qsparse.tflite_export.parity.file_run import FileRun
from qsparse.tflite_export.parity.pairing import Pair
from qsparse.tflite_export.parity.tensor_map import plain
from qsparse.tflite_export.passes.one_scale import read_back
from qsparse.tflite_export.runtime.interpreter import plain_interpreter


def compare_tensors(pair: Pair, batches: list[list[np.ndarray]]) -> list[TensorParity]:
    """Runs both sides and compares every tensor they share.

    Args:
        pair: the model and the file.
        batches: samples, one list of inputs per batch.

    Returns:
        One entry per shared int8 tensor, in the order the file computes them.

    Raises:
        ValueError: LiteRT cannot run the file.
    """
    layouts = {name: _layouts(pair, name) for name in pair.stored}
    shown = [view.tensor for group in layouts.values() for view in group]
    run = FileRun(plain_interpreter(with_outputs(pair.file, shown)), pair)
    from_input = _from_input(pair.graph, list(pair.stored))
    one_by_one = _one_by_one(pair.graph, list(pair.stored))
    accumulated = {name: _Sum() for name in pair.stored}
    local = {name: _Sum() for name in pair.stored}
    chosen: dict[str, _View] = {}
    for batch in batches:
        fed = run(batch)
        wanted = dict(zip(pair.stored, from_input(*fed), strict=True))
        for name, group in layouts.items():
            if name not in chosen:
                chosen[name] = _closest(group, run, wanted[name].numpy())
        stored = {name: view.of(run) for name, view in chosen.items()}
        given = [
            _meaning(stored[name], view.tensor)
            .reshape(wanted[name].shape)
            .astype(np.float32)
            for name, view in chosen.items()
        ]
        alone = dict(zip(pair.stored, one_by_one(*fed, *given), strict=True))
        for name, view in chosen.items():
            accumulated[name].add(stored[name], wanted[name].numpy(), view.tensor)
            local[name].add(stored[name], alone[name].numpy(), view.tensor)
    tensors = {name: view.tensor for name, view in chosen.items()}
    return _entries(pair, tensors, accumulated, local)


def with_outputs(file: ModelFile, tensors: list[Tensor]) -> bytes:
    """Returns a copy of a file with more outputs; its signature stays."""
    model = copy.copy(file.model)
    graph = copy.copy(model.subgraphs[0])
    have = [int(index) for index in graph.outputs]
    new = dict.fromkeys(tensor.index for tensor in tensors)
    inputs = {int(index) for index in graph.inputs}
    graph.outputs = np.array(
        have + [i for i in new if i not in have and i not in inputs], np.int32
    )
    model.subgraphs = [graph, *model.subgraphs[1:]]
    clone = copy.copy(file)
    clone.model = model
    return clone.to_bytes()


class _Sum:
    """Differences of one tensor, summed over batches."""

    def __init__(self) -> None:
        self._max = self._more = self._count = 0
        self._total = 0

    def add(self, stored: np.ndarray, wanted: np.ndarray, tensor: Tensor) -> None:
        off = np.abs(stored.ravel().astype(np.int32) - _steps(wanted, tensor).ravel())
        self._max = max(self._max, int(off.max(initial=0)))
        self._more += int(np.count_nonzero(off > ROUNDING_LSB))
        self._total += int(off.sum())
        self._count += off.size

    def result(self) -> Difference:
        count = max(self._count, 1)
        return Difference(self._max, self._total / count, self._more / count)


def _steps(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Returns fake-quantized values as the integers they stand for."""
    scaled = np.rint(values.astype(np.float64) / float(tensor.scales[0]))
    return scaled.astype(np.int32) + int(tensor.zero_points[0])


def _meaning(stored: np.ndarray, tensor: Tensor) -> np.ndarray:
    steps = stored.astype(np.float64) - int(tensor.zero_points[0])
    return np.asarray(steps * float(tensor.scales[0]))


@dataclass(frozen=True)
class _View:
    """A tensor of the file, its axes in the order they have in the graph.

    Attributes:
        tensor: the tensor.
        axes: its axes in that order; None where it is the file's.
    """

    tensor: Tensor
    axes: tuple[int, ...] | None = None

    def of(self, run: FileRun) -> np.ndarray:
        """Returns its contents."""
        values = run.tensor(self.tensor.index)
        return values if self.axes is None else values.transpose(self.axes)


def _layouts(pair: Pair, name: str) -> list[_View]:
    """Returns what may hold a tensor of the graph, the recorded tensor first.

    Attention with as many heads as positions has transposed tensors of one shape; and
    the file has its channels last where the model has them first.
    """
    tensor = pair.stored[name]
    moved = _moves_axes(tensor.shape, pair.graph.shapes[name])
    if moved:
        return [_View(tensor, axes) for axes in moved]
    group = [tensor]
    for op in pair.file.ops:
        if op.name == "TRANSPOSE" and op.inputs[0] is not None:
            ends = [op.inputs[0], op.outputs[0]]
            if tensor in ends and ends[0].shape == ends[1].shape:
                group += [end for end in ends if end is not tensor]
    return [_View(member) for member in group]


def _moves_axes(
    stored: tuple[int, ...], wanted: tuple[int, ...]
) -> list[tuple[int, ...]]:
    """Returns the orders of axes that make one shape of another; none if it is it."""
    if plain(stored) == plain(wanted) or len(stored) != len(wanted):
        return []
    orders = permutations(range(len(stored)))
    return [axes for axes in orders if tuple(stored[a] for a in axes) == wanted]


def _closest(group: list[_View], run: FileRun, wanted: np.ndarray) -> _View:
    def distance(view: _View) -> float:
        total = _Sum()
        total.add(view.of(run), wanted, view.tensor)
        return total.result().mean_lsb

    return group[0] if len(group) == 1 else min(group, key=distance)


def _quantizers(graph: Graph, tensors: list[str]) -> dict[str, str]:
    """Returns tensor -> its fake-quant node."""
    nodes = {
        read_back(graph, n.input[0]): n.name
        for n in graph.nodes.values()
        if n.op == FAKE_QUANT
    }
    return {tensor: nodes[tensor] for tensor in tensors}


def _from_input(graph: Graph, tensors: list[str]) -> Any:
    """Compiles the graph: its inputs -> every quantized tensor."""
    quantizers = _quantizers(graph, tensors)
    return runnable(graph, lambda get: [get(quantizers[t]) for t in tensors])


def _one_by_one(graph: Graph, tensors: list[str]) -> Any:
    """Compiles the graph cut at every quantized tensor.

    Returns:
        A function of the inputs and of every quantized tensor; it returns each of them
        computed from those before it.
    """
    graph = copy.deepcopy(graph)
    quantizers = _quantizers(graph, tensors)
    for tensor, quantizer in quantizers.items():
        given = graph.add_node(
            f"{quantizer}/given", "Placeholder", [], dtype=graph.dtypes[quantizer]
        )
        shape = tf.TensorShape(graph.shapes[tensor]).as_proto()
        graph.nodes[given].attr["shape"].shape.CopyFrom(shape)
        graph.rewire(quantizer, given)
        graph.inputs[given] = given
    graph.outputs = {tensor: quantizers[tensor] for tensor in tensors}
    graph.refresh()
    return runnable(graph, lambda get: [get(quantizers[t]) for t in tensors])


def _entries(
    pair: Pair,
    chosen: dict[str, Tensor],
    accumulated: dict[str, _Sum],
    local: dict[str, _Sum],
) -> list[TensorParity]:
    computed_by = {out.index: op for op in pair.file.ops for out in op.outputs}
    order = {i: op.index for i, op in computed_by.items()}
    entries = []
    for name, tensor in sorted(chosen.items(), key=lambda c: order.get(c[1].index, -1)):
        region = pair.regions[name]
        op = computed_by.get(tensor.index)
        entries.append(
            TensorParity(
                tensor.name,
                "input" if op is None else op.name,
                region.layer,
                region.fused,
                tuple(chosen[t].name for t in region.inputs),
                float(tensor.scales[0]),
                pair.ranges[name].source,
                accumulated[name].result(),
                local[name].result(),
            )
        )
    return entries
