"""Reads and edits .tflite files; needs neither TensorFlow nor an interpreter."""

import json
import math
import os
from dataclasses import dataclass
from typing import Any

import flatbuffers
import ml_dtypes
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from qsparse.tflite_export.source import IDENTIFIER, read_model

METADATA_NAME = "qsparse"
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
# Ops with constant weights as their second input -> axis of the output channels.
_INT4 = np.dtype(ml_dtypes.int4)
CHANNEL_AXIS = {"FULLY_CONNECTED": 0, "CONV_2D": 0, "DEPTHWISE_CONV_2D": 3}


@dataclass
class Tensor:
    """One tensor of a file.

    Attributes:
        index: its index in the main subgraph.
        name: its name.
        shape: its static shape.
        dtype: numpy dtype; `object` for types numpy lacks.
        scales: quantization scales, one or one per channel; empty if float.
        zero_points: as `scales`.
        data: the constant contents as a writable array, int4 as a copy; None if not
            constant.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scales: np.ndarray
    zero_points: np.ndarray
    data: Any


@dataclass(frozen=True)
class Op:
    """One op of a file.

    Attributes:
        index: its index in the main subgraph, which is also its node number for a
            delegate.
        name: e.g. "CONV_2D".
        inputs: tensors; None for an optional input that is absent.
        outputs: tensors.
        options: the builtin options of the schema, or None.
    """

    index: int
    name: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Any

    @property
    def weights(self) -> Tensor | None:
        """The constant weights of a convolution or fully connected op, or None."""
        if self.name not in CHANNEL_AXIS or len(self.inputs) < 2:
            return None
        tensor = self.inputs[1]
        return tensor if tensor is not None and tensor.data is not None else None

    @property
    def is_int8(self) -> bool:
        """Whether activations and (if it has them) weights are int8."""
        # The first input of TRANSPOSE_CONV is the shape of its output.
        first = 1 if self.name == "TRANSPOSE_CONV" else 0
        operands = [*self.inputs[first : first + 2], self.outputs[0]]
        return all(t is None or t.dtype == np.int8 for t in operands)

    @property
    def has_integer_weights(self) -> bool:
        """Whether it has constant int8 or int4 weights, whatever it computes in."""
        return self.weights is not None and self.weights.dtype in (np.int8, _INT4)

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one invocation."""
        output = int(np.prod(self.outputs[0].shape))
        first, operand, third = (*self.inputs, None, None, None)[:3]
        if first is None or operand is None:
            return 0
        if self.name == "FULLY_CONNECTED":
            return output * operand.shape[-1]
        if self.name == "CONV_2D":
            return output * int(np.prod(operand.shape[1:]))
        if self.name == "DEPTHWISE_CONV_2D":
            return output * int(np.prod(operand.shape[1:3]))
        if self.name == "BATCH_MATMUL":
            return output * first.shape[-2 if self.options.adjX else -1]
        if self.name == "TRANSPOSE_CONV" and third is not None:
            image = int(np.prod(third.shape))
            return image * int(np.prod(operand.shape[:3]))
        return 0


class ModelFile:
    """A .tflite file in memory.

    Attributes:
        name: path it came from, for messages.
        model: the object form of the schema.
    """

    def __init__(self, source: str | os.PathLike | bytes) -> None:
        """Reads and checks a file.

        Args:
            source: path or contents of a .tflite or .qsp file.

        Raises:
            ValueError: not a .tflite file, or a damaged one; names the file.
            FileNotFoundError: no such file.
        """
        self.name, model = read_model(source)
        contents = bytearray(model)
        try:
            self.model = schema.ModelT.InitFromPackedBuf(contents)
            self.tensors = [self._tensor(i) for i in range(len(self._graph.tensors))]
            self.ops = [self._op(i) for i in range(len(self._graph.operators or []))]
        except Exception as error:  # any offset may point anywhere
            raise ValueError(
                f"{self.name} is damaged or truncated ({len(contents)} bytes): "
                f"{error}. Export or download it again."
            ) from error

    @property
    def inputs(self) -> list[Tensor]:
        """Inputs of the main subgraph."""
        return [self.tensors[i] for i in self._graph.inputs]

    @property
    def outputs(self) -> list[Tensor]:
        """Outputs of the main subgraph."""
        return [self.tensors[i] for i in self._graph.outputs]

    def layers(self) -> list[tuple[Op, Tensor]]:
        """Returns every op with constant weights, and those weights."""
        return [(op, weights) for op in self.ops if (weights := op.weights) is not None]

    def int8_layers(self) -> list[tuple[Op, Tensor]]:
        """Returns every int8 op with constant weights, and those weights."""
        return [(op, weights) for op, weights in self.layers() if op.is_int8]

    def signature(self) -> tuple[dict[str, int], dict[str, int]]:
        """Returns input and output names -> tensor index, from the first signature."""
        if not self.model.signatureDefs:
            return (
                {tensor.name: tensor.index for tensor in self.inputs},
                {tensor.name: tensor.index for tensor in self.outputs},
            )
        entry = self.model.signatureDefs[0]
        return (
            {_text(item.name): item.tensorIndex for item in entry.inputs},
            {_text(item.name): item.tensorIndex for item in entry.outputs},
        )

    def metadata(self) -> dict[str, Any] | None:
        """Returns the `qsparse` entry, or None if the file has none.

        Raises:
            ValueError: the entry is not what `qsparse.export` writes.
        """
        for entry in self.model.metadata or []:
            if _text(entry.name) == METADATA_NAME:
                return self._checked(entry.buffer)
        return None

    def _checked(self, buffer: int) -> dict[str, Any]:
        try:
            data = self.model.buffers[buffer].data
            value = json.loads(bytes(data).rstrip(b"\0"))
            for layer in value["layers"]:
                str(layer["tensor"]), str(layer["path"])
        except (LookupError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"the {METADATA_NAME!r} entry of {self.name} is damaged: {error!r}"
            ) from error
        return value

    def set_metadata(self, value: dict[str, Any]) -> None:
        """Adds or replaces the `qsparse` entry, which stock runtimes ignore."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(json.dumps(value).encode(), np.uint8)
        for entry in self.model.metadata or []:
            if _text(entry.name) == METADATA_NAME:
                self.model.buffers[entry.buffer] = buffer
                return
        entry = schema.MetadataT()
        entry.name = METADATA_NAME
        entry.buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        self.model.metadata = [*(self.model.metadata or []), entry]

    def set_scales(self, tensor: Tensor, scales: np.ndarray) -> None:
        """Replaces the quantization scales of a tensor; the count stays."""
        tensor.scales = np.asarray(scales, np.float32)
        self._graph.tensors[tensor.index].quantization.scale = tensor.scales

    def own_buffer(self, tensor: Tensor) -> None:
        """Gives a constant its own buffer; the converter shares equal ones."""
        entry = self._graph.tensors[tensor.index]
        if sum(other.buffer == entry.buffer for other in self._graph.tensors) == 1:
            return
        buffer = schema.BufferT()
        buffer.data = self.model.buffers[entry.buffer].data.copy()
        entry.buffer = len(self.model.buffers)
        self.model.buffers.append(buffer)
        tensor.data = buffer.data.view(tensor.dtype).reshape(tensor.shape)

    def set_int4(self, tensor: Tensor, values: np.ndarray, scales: np.ndarray) -> None:
        """Replaces a constant by one of four bits.

        Args:
            tensor: what to replace; changed in place.
            values: int8 in [-8, 7], of its shape.
            scales: one per channel, as many as it has.
        """
        self.own_buffer(tensor)
        entry = self._graph.tensors[tensor.index]
        entry.type = schema.TensorType.INT4
        self.model.buffers[entry.buffer].data = _pack_int4(values)
        self.set_scales(tensor, scales)
        tensor.dtype, tensor.data = _INT4, values.astype(_INT4)

    def to_bytes(self) -> bytes:
        """Returns the file with all edits."""
        return pack(self.model)

    @property
    def _graph(self) -> schema.SubGraphT:
        return self.model.subgraphs[0]

    def _tensor(self, index: int) -> Tensor:
        entry = self._graph.tensors[index]
        shape = tuple(
            int(size) for size in ([] if entry.shape is None else entry.shape)
        )
        dtype = np.dtype(_DTYPES.get(entry.type, object))
        raw = self.model.buffers[entry.buffer].data
        data = None
        plain = not dtype.hasobject and entry.sparsity is None
        if plain and raw is not None and len(raw):
            if dtype == _INT4:
                data = _unpack_int4(raw)[: math.prod(shape)].reshape(shape)
            else:
                data = raw.view(dtype).reshape(shape)
        quantization = entry.quantization
        scales = getattr(quantization, "scale", None)
        zeros = getattr(quantization, "zeroPoint", None)
        return Tensor(
            index,
            _text(entry.name),
            shape,
            dtype,
            np.array([] if scales is None else scales, np.float32),
            np.array([] if zeros is None else zeros, np.int64),
            data,
        )

    def _op(self, index: int) -> Op:
        entry = self._graph.operators[index]
        code = self.model.operatorCodes[entry.opcodeIndex]
        number = max(code.builtinCode, code.deprecatedBuiltinCode)
        name = _OP_NAMES[number]
        return Op(
            index,
            _text(code.customCode) if name == "CUSTOM" else name,
            tuple(self.tensors[i] if i >= 0 else None for i in entry.inputs),
            tuple(self.tensors[i] for i in entry.outputs),
            entry.builtinOptions,
        )


def pack(model: schema.ModelT) -> bytes:
    """Returns a file, every buffer aligned to 16 bytes as the schema asks."""
    builder = _AlignedBuilder(1024)
    builder.Finish(model.Pack(builder), IDENTIFIER)
    return bytes(builder.Output())


class _AlignedBuilder(flatbuffers.Builder):
    """Aligns byte vectors to 16, which the generated Python code forgets."""

    def StartVector(self, elem_size: int, count: int, alignment: int) -> int:  # noqa: N802
        return super().StartVector(
            elem_size, count, 16 if elem_size == 1 else alignment
        )


def _pack_int4(values: np.ndarray) -> np.ndarray:
    """Returns two values per byte, the first in the low half."""
    flat = np.append(values.ravel(), np.zeros(values.size % 2, np.int8))
    halves = flat.view(np.uint8) & 15
    return halves[0::2] | halves[1::2] << 4


def _unpack_int4(raw: np.ndarray) -> np.ndarray:
    """Returns the values of `_pack_int4`, perhaps with one more at the end."""
    halves = np.stack([raw & 15, raw >> 4], axis=1).ravel().astype(np.int8)
    return np.where(halves > 7, halves - 16, halves).astype(_INT4)


def _text(value: bytes | str | None) -> str:
    return value.decode() if isinstance(value, bytes) else value or ""
