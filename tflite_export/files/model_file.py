"""Reads and edits .tflite files; needs neither TensorFlow nor an interpreter."""

import json
import os
from typing import Any

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

from qsparse.tflite_export.files.model_parts import INT4, Executed, Op, Tensor, executed
from qsparse.tflite_export.files.plain_text import decode
from qsparse.tflite_export.files.source import IDENTIFIER, read_source
from qsparse.tflite_export.files.subgraph_reader import SubgraphReader

METADATA_NAME = "qsparse"
_Names = dict[str, int]


class ModelFile:
    """A .tflite file in memory.

    Attributes:
        name: path it came from, for messages.
        model: the object form of the schema.
        tensors: tensors of the main subgraph.
        ops: its ops, in the order they run.
        inputs: its inputs.
        outputs: its outputs.
    """

    def __init__(self, source: str | os.PathLike | bytes) -> None:
        """Reads and checks a file.

        Args:
            source: path or contents of a .tflite or .qsp file.

        Raises:
            ValueError: not a .tflite file, or a damaged one; names the file.
            FileNotFoundError: no such file.
        """
        self.name, model = read_source(source)
        contents = bytearray(model)
        try:
            self.model = schema.ModelT.InitFromPackedBuf(contents)
            main = SubgraphReader(self.model).read(0)
            self.tensors, self.ops = main.tensors, main.ops
            self.inputs, self.outputs = main.inputs, main.outputs
            self._main = main
            self._signature = self._read_signature()
        except Exception as error:  # any offset may point anywhere
            raise ValueError(
                f"{self.name} is damaged or truncated ({len(contents)} bytes): "
                f"{str(error) or type(error).__name__}. Export or download it again."
            ) from error
        self._metadata = self._read_metadata()

    def layers(self) -> list[tuple[Op, Tensor]]:
        """Returns every op with constant weights, and those weights."""
        return [(op, weights) for op in self.ops if (weights := op.weights) is not None]

    def int8_layers(self) -> list[tuple[Op, Tensor]]:
        """Returns every int8 op with constant weights, and those weights."""
        return [(op, weights) for op, weights in self.layers() if op.is_int8]

    def executed(self) -> list[Executed]:
        """Returns every op that an invocation runs, those in loops included."""
        return list(executed(self._main))

    def signature(self) -> tuple[_Names, _Names]:
        """Returns input and output names -> tensor index, from the first signature."""
        return self._signature

    def metadata(self) -> dict[str, Any] | None:
        """Returns the `qsparse` entry, or None if the file has none."""
        return self._metadata

    def _read_signature(self) -> tuple[_Names, _Names]:
        for entry in (self.model.signatureDefs or [])[:1]:
            if entry.subgraphIndex == 0:
                return (
                    self._names(entry.inputs, self.inputs),
                    self._names(entry.outputs, self.outputs),
                )
        return (
            {tensor.name: tensor.index for tensor in self.inputs},
            {tensor.name: tensor.index for tensor in self.outputs},
        )

    def _names(self, entries: Any, tensors: list[Tensor]) -> _Names:
        found = {decode(item.name): item.tensorIndex for item in entries or []}
        known = {tensor.index for tensor in tensors}
        if not set(found.values()) <= known:
            raise ValueError(f"its signature has the tensors {found}, it has {known}")
        return found

    def _read_metadata(self) -> dict[str, Any] | None:
        for entry in self.model.metadata or []:
            if decode(entry.name) == METADATA_NAME:
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
        self._metadata = value
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(json.dumps(value).encode(), np.uint8)
        for entry in self.model.metadata or []:
            if decode(entry.name) == METADATA_NAME:
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
        tensor.dtype, tensor.data = INT4, values.astype(INT4)

    def set_int64(self, tensor: Tensor, values: np.ndarray) -> None:
        """Replaces an integer constant by one of 64 bits; its scales stay.

        Args:
            tensor: what to replace; changed in place.
            values: integers of its shape.
        """
        self.own_buffer(tensor)
        entry = self._graph.tensors[tensor.index]
        entry.type = schema.TensorType.INT64
        stored = values.astype("<i8")
        self.model.buffers[entry.buffer].data = stored.reshape(-1).view(np.uint8)
        tensor.dtype, tensor.data = np.dtype(np.int64), stored

    def to_bytes(self) -> bytes:
        """Returns the file with all edits."""
        return pack(self.model)

    @property
    def _graph(self) -> schema.SubGraphT:
        return self.model.subgraphs[0]


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
