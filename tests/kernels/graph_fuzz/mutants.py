"""Changes a .tflite file here and there: operators, tensors, shapes, outputs, bytes."""

import copy

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from .writer import pack, read

_OPERATORS = (
    "ADD",
    "CONV_2D",
    "FULLY_CONNECTED",
    "MAX_POOL_2D",
    "AVERAGE_POOL_2D",
    "PAD",
    "SOFTMAX",
    "BATCH_MATMUL",
    "RESHAPE",
    "MUL",
    "DEPTHWISE_CONV_2D",
    "SUB",
    "SQUARED_DIFFERENCE",
    "NEG",
    "RSQRT",
    "SUM",
    "DEQUANTIZE",
    "QUANTIZE",
    "SELECT_V2",
    "GELU",
)


def _is_empty(buffer):
    return buffer.data is None or not len(buffer.data)


class Mutation:
    """Each method changes one thing; a graph without such a thing stays as it is."""

    def __init__(self, tree, rng):
        self._tree = tree
        self._graph = tree.subgraphs[0]
        self._rng = rng

    def _pick(self, values):
        return values[self._rng.integers(len(values))]

    def _tensor(self):
        return int(self._rng.integers(len(self._graph.tensors)))

    def change_outputs(self):
        count = int(self._rng.integers(1, 4))
        self._graph.outputs = [self._tensor() for _ in range(count)]

    def expose_activations(self):
        """Feature tensors as the only outputs: the head is a dead end."""
        made = [int(o.outputs[0]) for o in self._graph.operators if len(o.outputs)]
        count = int(self._rng.integers(1, 3))
        self._graph.outputs = [self._pick(made) for _ in range(count)]

    def change_inputs(self):
        """Not constants: what a caller writes there LiteRT has packed or not."""
        count = int(self._rng.integers(1, 3))
        extra = [self._tensor() for _ in range(count)]
        buffers = self._tree.buffers
        tensors = self._graph.tensors
        extra = [t for t in extra if _is_empty(buffers[tensors[t].buffer])]
        self._graph.inputs = [*self._graph.inputs, *extra]

    def drop_operator(self):
        if len(self._graph.operators) > 1:
            index = int(self._rng.integers(len(self._graph.operators)))
            del self._graph.operators[index]

    def drop_head(self):
        keep = int(self._rng.integers(1, len(self._graph.operators) + 1))
        del self._graph.operators[keep:]

    def duplicate_operator(self):
        operators = self._graph.operators
        operator = copy.deepcopy(self._pick(operators))
        if self._rng.random() < 0.5 and len(operator.outputs):
            tensor = copy.deepcopy(self._graph.tensors[operator.outputs[0]])
            self._graph.tensors.append(tensor)
            operator.outputs = [len(self._graph.tensors) - 1]
        operators.insert(int(self._rng.integers(len(operators) + 1)), operator)

    def swap_operators(self):
        operators = self._graph.operators
        i, j = self._rng.integers(len(operators), size=2)
        operators[i], operators[j] = operators[j], operators[i]

    def rewire(self):
        operator = self._pick(self._graph.operators)
        if len(operator.inputs):
            inputs = list(operator.inputs)
            inputs[self._rng.integers(len(inputs))] = self._tensor()
            operator.inputs = inputs

    def rewire_output(self):
        self._pick(self._graph.operators).outputs = [self._tensor()]

    def drop_input(self):
        operator = self._pick(self._graph.operators)
        if len(operator.inputs):
            operator.inputs = list(operator.inputs)[:-1]

    def change_shape(self):
        tensor = self._graph.tensors[self._tensor()]
        if tensor.shape is None or not len(tensor.shape):
            return
        shape = [int(size) for size in tensor.shape]
        kind = self._rng.random()
        if kind < 0.2:
            shape = shape[1:]
        elif kind < 0.3:
            shape = [*shape, 1]
        else:
            sizes = (0, 1, 2, 3, 4, 5, 7, 8, 16, 33, -1)
            shape[self._rng.integers(len(shape))] = self._pick(sizes)
        tensor.shape = shape

    def change_type(self):
        kinds = ("FLOAT32", "INT32", "UINT8", "INT16", "INT8")
        kind = getattr(schema.TensorType, self._pick(kinds))
        self._graph.tensors[self._tensor()].type = kind

    def change_quantization(self):
        quantization = self._graph.tensors[self._tensor()].quantization
        if quantization is None or quantization.scale is None:
            return
        count = len(quantization.scale)
        kind = self._rng.integers(6)
        if kind == 0:
            quantization.scale = np.asarray(quantization.scale) * np.float32(
                10 ** self._rng.uniform(-4, 4)
            )
        elif kind == 1:
            value = self._pick((0.0, -0.1, np.nan, np.inf, 1e-38, 1e-45, 1e30))
            quantization.scale = np.full(count, value, np.float32)
        elif kind == 2:
            value = int(self._pick((-128, 127, 5, 0, 128, -129, 70000)))
            quantization.zeroPoint = np.full(count, value, np.int64)
        elif kind == 3:
            quantization.scale = np.asarray(quantization.scale)[:-1]
        elif kind == 4:
            quantization.zeroPoint = np.zeros(0, np.int64)
        else:
            quantization.quantizedDimension = int(self._rng.integers(-1, 5))

    def drop_quantization(self):
        self._graph.tensors[self._tensor()].quantization = None

    def change_opcode(self):
        code = self._pick(self._tree.operatorCodes)
        code.builtinCode = getattr(schema.BuiltinOperator, self._pick(_OPERATORS))
        code.deprecatedBuiltinCode = min(code.builtinCode, 127)

    def change_kind(self):
        """An operator becomes one of another kind, its options stay."""
        operator = self._pick(self._graph.operators)
        operator.opcodeIndex = int(self._rng.integers(len(self._tree.operatorCodes)))

    def change_options(self):
        options = self._pick(self._graph.operators).builtinOptions
        fields = [k for k, v in vars(options or object).items() if isinstance(v, int)]
        if options is not None and fields:
            value = self._pick((0, 1, 2, 3, 4, 7, 9, 16, 65, -1, 2**31 - 1))
            field = self._pick(fields)
            is_flag = isinstance(getattr(options, field), bool)
            # Fields of one byte.
            ends = ("padding", "Function", "Format", "Type")
            small = field.endswith(ends)
            value = bool(value % 2) if is_flag else value % 6 if small else value
            setattr(options, field, value)

    def drop_options(self):
        operator = self._pick(self._graph.operators)
        operator.builtinOptions, operator.builtinOptionsType = None, 0

    def change_buffer(self):
        buffer = self._pick(self._tree.buffers)
        if _is_empty(buffer):
            return
        data = np.array(buffer.data, np.uint8)
        kind = self._rng.integers(3)
        if kind == 0:
            data = data[: int(self._rng.integers(len(data)))]
        elif kind == 1:
            at = self._rng.integers(len(data), size=min(len(data), 8))
            data[at] = self._rng.integers(0, 256, len(at))
        else:
            data = np.tile(data, 2)
        buffer.data = data

    def share_buffer(self):
        tensor = self._graph.tensors[self._tensor()]
        tensor.buffer = int(self._rng.integers(len(self._tree.buffers)))


# What makes another valid graph is drawn most often.
_GENTLE = (
    Mutation.change_outputs,
    Mutation.expose_activations,
    Mutation.drop_operator,
    Mutation.drop_head,
    Mutation.duplicate_operator,
    Mutation.rewire,
)
_ROUGH = tuple(
    change
    for name, change in vars(Mutation).items()
    if not name.startswith("_") and change not in _GENTLE
)


def _flipped(content, rng):
    data = bytearray(content)
    for position in rng.integers(0, len(data), rng.integers(1, 4)):
        data[position] = rng.integers(0, 256)
    return bytes(data)


def _slices(tree):
    """Where slices begin and end, each as bytes."""
    graph, found = tree.subgraphs[0], set()
    for operator in graph.operators:
        code = tree.operatorCodes[operator.opcodeIndex].builtinCode
        if code == schema.BuiltinOperator.STRIDED_SLICE:
            for tensor in operator.inputs[1:]:
                data = tree.buffers[graph.tensors[tensor].buffer].data
                found.add(b"" if data is None else bytes(data))
    return found


def mutant(content, seed):
    """The file with one to four changes, or with a few bytes of it replaced.

    Slices stay where they are: XNNPACK reads whatever lies behind a tensor's end.
    """
    rng = np.random.default_rng(seed)
    if rng.random() < 0.1:
        return _flipped(content, rng)
    slices = _slices(read(content))
    while not _slices(tree := _changed(content, rng)) <= slices:
        pass
    return pack(tree)


def _changed(content, rng):
    tree = read(content)
    mutation = Mutation(tree, rng)
    for _ in range(rng.integers(1, 5)):
        changes = _GENTLE if rng.random() < 0.6 else _ROUGH
        if tree.subgraphs[0].operators:
            changes[rng.integers(len(changes))](mutation)
    return tree
