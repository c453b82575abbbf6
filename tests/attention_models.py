"""Write int8 .tflite files of one BATCH_MATMUL or one SOFTMAX."""

import dataclasses

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema


@dataclasses.dataclass
class Quantized:
    """Shape, scale and zero point of an int8 tensor; with `data`, a constant."""

    shape: tuple[int, ...]
    scale: float = 0.05
    zero_point: int = 0
    data: np.ndarray | None = None


@dataclasses.dataclass
class AttentionModel:
    content: bytes
    inputs: list[Quantized]
    output: Quantized

    def sample(self, seed=0):
        """Values over the whole int8 range, one array per input."""
        rng = np.random.default_rng(seed)
        return [
            rng.integers(-128, 128, tensor.shape).astype(np.int8)
            for tensor in self.inputs
        ]


def product_shape(x, y, adj_x=False, adj_y=False):
    rows, depth = x[-2:][::-1] if adj_x else x[-2:]
    inner, columns = y[-2:][::-1] if adj_y else y[-2:]
    assert depth == inner
    batch = np.broadcast_shapes(x[:-2], y[:-2])
    return (*batch, rows, columns), depth


def batch_matmul_model(
    x, y, *, adj_x=False, adj_y=False, zero_point=5, multiplier=None, output_scale=None
):
    """The product of two `Quantized`; the output spans its range by default."""
    shape, depth = product_shape(x.shape, y.shape, adj_x, adj_y)
    if output_scale is None:
        # Uniform factors deviate by 74 steps; a product of 40 spans the range.
        wanted = multiplier or 40 / (74 * 74 * np.sqrt(depth))
        output_scale = x.scale * y.scale / wanted
    options = schema.BatchMatMulOptionsT()
    options.adjX, options.adjY = adj_x, adj_y
    output = Quantized(shape, output_scale, zero_point)
    return _write("BATCH_MATMUL", "BatchMatMulOptions", options, [x, y], output, 3)


def softmax_model(shape, scale, *, beta=1.0, zero_point=3, output=None):
    options = schema.SoftmaxOptionsT()
    options.beta = beta
    output = output or Quantized(shape, 1 / 256, -128)
    x = Quantized(shape, scale, zero_point)
    return _write("SOFTMAX", "SoftmaxOptions", options, [x], output, 2)


def _write(kind, options_type, options, inputs, output, version):
    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    code = schema.OperatorCodeT()
    code.builtinCode = code.deprecatedBuiltinCode = getattr(
        schema.BuiltinOperator, kind
    )
    code.version = version
    model.operatorCodes = [code]
    graph = schema.SubGraphT()
    graph.tensors, graph.inputs = [], []
    for i, value in enumerate([*inputs, output]):
        tensor = schema.TensorT()
        tensor.shape = list(value.shape)
        tensor.type = schema.TensorType.INT8
        tensor.name = f"t{i}"
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale = np.asarray([value.scale], np.float32)
        tensor.quantization.zeroPoint = np.asarray([value.zero_point], np.int64)
        tensor.buffer = 0
        if value.data is not None:
            buffer = schema.BufferT()
            buffer.data = np.frombuffer(value.data.tobytes(), np.uint8)
            tensor.buffer = len(model.buffers)
            model.buffers.append(buffer)
        elif i < len(inputs):
            graph.inputs.append(i)
        graph.tensors.append(tensor)
    operator = schema.OperatorT()
    operator.opcodeIndex = 0
    operator.inputs, operator.outputs = list(range(len(inputs))), [len(inputs)]
    operator.builtinOptionsType = getattr(schema.BuiltinOptions, options_type)
    operator.builtinOptions = options
    graph.operators, graph.outputs = [operator], [len(inputs)]
    model.subgraphs = [graph]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return AttentionModel(bytes(builder.Output()), inputs, output)
