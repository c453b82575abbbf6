"""Write .tflite files of any operators, each tensor with a quantization of its own."""

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

_VERSIONS = {
    "FULLY_CONNECTED": 5,
    "CONV_2D": 5,
    "DEPTHWISE_CONV_2D": 5,
    "RESHAPE": 1,
    "NEG": 1,
    "SELECT_V2": 1,
    "GREATER": 2,
    "SQUARE": 1,
}
INT8 = schema.TensorType.INT8
INT32 = schema.TensorType.INT32
FLOAT32 = schema.TensorType.FLOAT32


def read(content):
    """The file as a tree of objects that can be changed."""
    return schema.ModelT.InitFromObj(schema.Model.GetRootAs(content, 0))


def pack(tree):
    """The bytes of such a tree."""
    builder = flatbuffers.Builder(1 << 16)
    builder.Finish(tree.Pack(builder), b"TFL3")
    return bytes(builder.Output())


class Writer:
    """Tensors are numbers; `shape`, `scale` and `zero_point` tell what was written."""

    def __init__(self):
        self.model = schema.ModelT()
        self.model.version = 3
        self.model.buffers = [schema.BufferT()]
        self.model.operatorCodes = []
        self.graph = schema.SubGraphT()
        self.graph.tensors, self.graph.operators = [], []
        self.graph.inputs, self.graph.outputs = [], []
        self.model.subgraphs = [self.graph]

    def tensor(self, shape, scale, zero_point=0, *, kind=INT8, data=None):
        """Adds a tensor; scales of several channels lie along the first axis."""
        tensor = schema.TensorT()
        tensor.shape = [int(size) for size in shape]
        tensor.type = kind
        tensor.name = f"t{len(self.graph.tensors)}"
        tensor.buffer = 0
        if scale is not None:
            scales = np.atleast_1d(np.asarray(scale, np.float32))
            tensor.quantization = schema.QuantizationParametersT()
            tensor.quantization.scale = scales
            tensor.quantization.zeroPoint = np.full(len(scales), zero_point, np.int64)
            tensor.quantization.quantizedDimension = 0
        if data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(np.ascontiguousarray(data).tobytes(), np.uint8)
            tensor.buffer = len(self.model.buffers)
            self.model.buffers.append(buffer)
        self.graph.tensors.append(tensor)
        return len(self.graph.tensors) - 1

    def constant(self, values, kind=INT32):
        values = np.asarray(values, np.int32)
        return self.tensor(values.shape, None, kind=kind, data=values)

    def operator(self, name, inputs, output, options=None, **values):
        """Adds an operator; `options` is the name of its table, `values` its fields."""
        operator = schema.OperatorT()
        operator.opcodeIndex = self._code(name)
        operator.inputs, operator.outputs = list(inputs), [output]
        if options is not None:
            operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
            operator.builtinOptions = getattr(schema, f"{options}T")()
            for field, value in values.items():
                assert hasattr(operator.builtinOptions, field), field
                setattr(operator.builtinOptions, field, value)
        self.graph.operators.append(operator)
        return output

    def shape(self, tensor):
        return tuple(self.graph.tensors[tensor].shape)

    def scale(self, tensor):
        return float(self.graph.tensors[tensor].quantization.scale[0])

    def zero_point(self, tensor):
        return int(self.graph.tensors[tensor].quantization.zeroPoint[0])

    def content(self, inputs, outputs):
        self.graph.inputs, self.graph.outputs = list(inputs), list(outputs)
        return pack(self.model)

    def _code(self, name):
        builtin = getattr(schema.BuiltinOperator, name)
        for index, code in enumerate(self.model.operatorCodes):
            if code.builtinCode == builtin:
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = builtin
        code.deprecatedBuiltinCode = min(builtin, 127)
        code.version = _VERSIONS.get(name, 2)
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1
