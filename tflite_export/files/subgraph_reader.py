"""Reads the subgraphs of a .tflite file that nobody vouches for.

Everything that later code indexes, reshapes or multiplies is checked here, once:
places of tensors and buffers, sizes of contents, quantization, ranks of weights, and
which subgraph runs which. What is wrong raises a ValueError that says where.
"""

from typing import Any

import ml_dtypes
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from qsparse.tflite_export.files.loops import trip_count
from qsparse.tflite_export.files.macs import weight_places, weight_rank
from qsparse.tflite_export.files.model_parts import INT4, Body, Op, Subgraph, Tensor
from qsparse.tflite_export.files.plain_text import decode

_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.FLOAT64: np.float64,
    schema.TensorType.INT4: ml_dtypes.int4,
    schema.TensorType.INT8: np.int8,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT16: np.int16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
}
_OP_NAMES = {
    code: name
    for name, code in vars(schema.BuiltinOperator).items()
    if not name.startswith("_")
}
_MOST_ELEMENTS = 1 << 40  # of a tensor; a claim, until memory is asked for
_DEEPEST = 32  # subgraphs inside of each other
_MOST_RUNS = 4096  # subgraphs that one invocation runs, loops counted once


class SubgraphReader:
    """Reads subgraphs by number; each is read once."""

    def __init__(self, model: schema.ModelT) -> None:
        self._model = model
        self._read: dict[int, Subgraph] = {}
        self._runs: dict[int, int] = {}
        self._open: list[int] = []

    def read(self, number: int) -> Subgraph:
        """Returns a subgraph, with those its ops run.

        Raises:
            ValueError: something in it is damaged.
        """
        if number in self._read:
            return self._read[number]
        graph = _at(self._model.subgraphs, number, "subgraph")
        if number in self._open or len(self._open) == _DEEPEST:
            raise ValueError(
                f"subgraph {number} runs itself, or {_DEEPEST} others inside of each "
                "other"
            )
        self._open.append(number)
        self._runs[number] = 1
        tensors = [
            self._tensor(index, entry)
            for index, entry in enumerate(_items(graph, "tensors"))
        ]
        ops = [
            self._op(index, entry, tensors, number)
            for index, entry in enumerate(_items(graph, "operators"))
        ]
        self._open.pop()
        if self._runs[number] > _MOST_RUNS:
            raise ValueError(f"its ops run more than {_MOST_RUNS} subgraphs")
        self._read[number] = Subgraph(
            decode(graph.name),
            tensors,
            ops,
            [_at(tensors, i, "input") for i in _items(graph, "inputs")],
            [_at(tensors, i, "output") for i in _items(graph, "outputs")],
        )
        return self._read[number]

    def _tensor(self, index: int, entry: schema.TensorT) -> Tensor:
        shape = tuple(int(size) for size in _items(entry, "shape"))
        dtype = np.dtype(_DTYPES.get(entry.type, object))
        scales, zero_points = _quantization(index, entry.quantization, shape)
        tensor = Tensor(
            index, decode(entry.name), shape, dtype, scales, zero_points, None
        )
        if min(shape, default=0) < 0 or tensor.size > _MOST_ELEMENTS:
            raise ValueError(f"tensor {index} has shape {shape}")
        buffer = _at(self._model.buffers, entry.buffer, f"buffer of tensor {index}:")
        if buffer.offset > 1:
            raise ValueError(
                f"tensor {index} lies outside of the flatbuffer, as in files of more "
                "than 2 GB, which this version of qsparse does not read"
            )
        raw = buffer.data
        plain = not dtype.hasobject and entry.sparsity is None
        if plain and raw is not None and len(raw):
            tensor.data = _contents(index, raw, dtype, shape)
        return tensor

    def _op(
        self, index: int, entry: schema.OperatorT, tensors: list[Tensor], number: int
    ) -> Op:
        code = _at(self._model.operatorCodes, entry.opcodeIndex, f"kind of op {index}:")
        builtin = max(code.builtinCode, code.deprecatedBuiltinCode)
        if builtin not in _OP_NAMES:
            raise ValueError(f"op {index} is of the unknown kind {builtin}")
        name = _OP_NAMES[builtin]
        if name == "CUSTOM":
            name = f"CUSTOM {decode(code.customCode)}"
        inputs = tuple(
            None if i == -1 else _at(tensors, i, f"input of op {index}:")
            for i in _items(entry, "inputs")
        )
        outputs = tuple(
            _at(tensors, i, f"output of op {index}:") for i in _items(entry, "outputs")
        )
        _check_weights(index, name, inputs)
        bodies = self._bodies(name, inputs, entry)
        self._runs[number] += sum(self._runs[run] for run in _subgraphs_of(name, entry))
        return Op(index, name, inputs, outputs, entry.builtinOptions, bodies)

    def _bodies(
        self, name: str, inputs: tuple[Tensor | None, ...], entry: schema.OperatorT
    ) -> tuple[Body, ...]:
        graphs = [self.read(number) for number in _subgraphs_of(name, entry)]
        if name == "WHILE":
            condition, body = graphs
            times = trip_count(inputs, condition, body)
            counted = times is not None
            rounds = 1 if times is None else times
            return Body(condition, rounds + 1, counted), Body(body, rounds, counted)
        if name == "IF":
            costly = max(graphs, key=lambda graph: graph.macs)
            return (Body(costly, 1, graphs[0].macs == graphs[1].macs),)
        return tuple(Body(graph, 1, True) for graph in graphs)


def _subgraphs_of(name: str, entry: schema.OperatorT) -> list[int]:
    """Returns which subgraphs an op runs."""
    kinds = {
        "WHILE": ("condSubgraphIndex", "bodySubgraphIndex"),
        "IF": ("thenSubgraphIndex", "elseSubgraphIndex"),
        "CALL": ("subgraph",),
        "STABLEHLO_COMPOSITE": ("decompositionSubgraphIndex",),
    }
    if name not in kinds:
        return []
    second = name.startswith("STABLEHLO")
    options = entry.builtinOptions2 if second else entry.builtinOptions
    return [getattr(options, field) for field in kinds[name]]


def _check_weights(index: int, name: str, inputs: tuple[Tensor | None, ...]) -> None:
    rank = weight_rank(name)
    for place in weight_places(name):
        weights = inputs[place] if place < len(inputs) else None
        if weights is None or weights.data is None:
            continue
        if len(weights.shape) != rank or not weights.size:
            raise ValueError(
                f"op {index} ({name}) has weights of shape {weights.shape}, it needs "
                f"{rank} dimensions"
            )


def _quantization(
    index: int, entry: Any, shape: tuple[int, ...]
) -> tuple[np.ndarray, np.ndarray]:
    """Returns scales and zero points, one or one per channel of each, or none."""
    scales = np.array(_items(entry, "scale"), np.float32)
    zero_points = np.array(_items(entry, "zeroPoint"), np.int64)
    if not scales.size or not zero_points.size:
        zero_points = np.zeros(scales.size, np.int64)
    axis = getattr(entry, "quantizedDimension", 0)
    channels = shape[axis] if 0 <= axis < len(shape) else 1
    if (
        scales.size not in (0, 1, channels)
        or (scales.size and zero_points.size not in (scales.size, 1))
        or not np.isfinite(scales).all()
        or (scales < 0).any()
    ):
        raise ValueError(
            f"tensor {index} of shape {shape} has {scales.size} scales and "
            f"{zero_points.size} zero points along axis {axis}"
        )
    return scales, np.broadcast_to(zero_points, scales.shape).copy()


def _contents(
    index: int, raw: np.ndarray, dtype: np.dtype, shape: tuple[int, ...]
) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    needed = -(-count // 2) if dtype == INT4 else count * dtype.itemsize
    if len(raw) != needed:
        raise ValueError(
            f"tensor {index} of shape {shape} has {len(raw)} bytes instead of {needed}"
        )
    if dtype == INT4:
        return _unpack_int4(raw)[:count].reshape(shape)
    return raw.view(dtype).reshape(shape)


def _unpack_int4(raw: np.ndarray) -> np.ndarray:
    """Returns two values per byte, the first from the low half."""
    halves = np.stack([raw & 15, raw >> 4], axis=1).ravel().astype(np.int8)
    return np.where(halves > 7, halves - 16, halves).astype(INT4)


def _items(entry: Any, field: str) -> Any:
    """Returns a vector of the schema; an empty one if it is not there."""
    found = getattr(entry, field, None)
    return [] if found is None else found


def _at(items: Any, index: int, what: str) -> Any:
    """Returns an item; a place counted from the end is no place."""
    count = 0 if items is None else len(items)
    if not 0 <= index < count:
        raise ValueError(f"{what} {index} does not exist, there are {count}")
    return items[index]
