"""Writes .tflite files op by op, for ops that no converter would give us."""

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from qsparse.tflite_export.files.model_file import pack

_TYPES = {
    "int8": schema.TensorType.INT8,
    "int32": schema.TensorType.INT32,
    "float32": schema.TensorType.FLOAT32,
    "bool": schema.TensorType.BOOL,
}


class RawGraph:
    """A subgraph that grows tensor by tensor and op by op."""

    def __init__(self, file):
        self._file = file
        self.tree = schema.SubGraphT()
        self.tree.tensors, self.tree.operators = [], []
        self.tree.inputs, self.tree.outputs = [], []

    def tensor(self, shape, dtype="float32", data=None, name="t"):
        """Add a tensor, return its number; with `data` it is a constant."""
        tensor = schema.TensorT()
        tensor.shape, tensor.type = list(shape), _TYPES[dtype]
        tensor.name, tensor.buffer = name, 0
        if data is not None:
            buffer = schema.BufferT()
            values = np.broadcast_to(np.asarray(data, dtype), shape)
            buffer.data = np.frombuffer(values.tobytes(), np.uint8)
            tensor.buffer = len(self._file.tree.buffers)
            self._file.tree.buffers.append(buffer)
        self.tree.tensors.append(tensor)
        return len(self.tree.tensors) - 1

    def input(self, shape, dtype="float32"):
        """Add a tensor that is an input."""
        self.tree.inputs.append(self.tensor(shape, dtype))
        return self.tree.inputs[-1]

    def op(self, name, inputs, outputs, options=None, custom=None):
        """Add an op; inputs and outputs are numbers of tensors."""
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, name)
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)
        code.version, code.customCode = 1, custom
        operator = schema.OperatorT()
        operator.opcodeIndex = len(self._file.tree.operatorCodes)
        self._file.tree.operatorCodes.append(code)
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        if options is not None:
            kind = type(options).__name__.removesuffix("T")
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, kind)
            operator.builtinOptions = options
        self.tree.operators.append(operator)


class RawFile:
    """A file of one or more subgraphs; the first is the main one."""

    def __init__(self):
        self.tree = schema.ModelT()
        self.tree.version = 3
        self.tree.operatorCodes, self.tree.subgraphs = [], []
        self.tree.buffers = [schema.BufferT()]

    def graph(self):
        """Add a subgraph."""
        graph = RawGraph(self)
        self.tree.subgraphs.append(graph.tree)
        return graph

    def to_bytes(self):
        """Return the file."""
        return pack(self.tree)
