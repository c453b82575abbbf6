"""Cuts one op out of a file, as a file of its own."""

import copy

from ai_edge_litert import schema_py_generated as schema

from qsparse.tflite_export.flatbuffer import ModelFile, Op, pack


def cut_out(file: ModelFile, op: Op) -> bytes:
    """Returns a .tflite file that holds just `op` and its constants.

    Its first input is the op's activations; shapes, scales and fused activation are
    those the op has in `file`.

    Args:
        file: the file the op is from.
        op: one of `file.ops`, with constant weights.
    """
    source = file.model.subgraphs[0]
    operator = copy.copy(source.operators[op.index])
    wanted = [tensor for tensor in (*op.inputs, *op.outputs) if tensor is not None]
    buffers = [schema.BufferT()]  # the first one is empty by convention
    tensors: list[schema.TensorT] = []
    place = {-1: -1}
    for tensor in wanted:
        entry = copy.copy(source.tensors[tensor.index])
        buffer = file.model.buffers[entry.buffer]
        entry.buffer = 0
        if buffer.data is not None and len(buffer.data):
            entry.buffer = len(buffers)
            buffers.append(buffer)
        place[tensor.index] = len(tensors)
        tensors.append(entry)
    code = file.model.operatorCodes[operator.opcodeIndex]
    operator.opcodeIndex = 0
    operator.inputs = [place[-1 if t is None else t.index] for t in op.inputs]
    operator.outputs = [place[tensor.index] for tensor in op.outputs]
    graph = schema.SubGraphT()
    graph.tensors = tensors
    graph.operators = [operator]
    graph.inputs = operator.inputs[:1]
    graph.outputs = operator.outputs
    model = schema.ModelT()
    model.version = 3
    model.operatorCodes = [code]
    model.subgraphs = [graph]
    model.buffers = buffers
    return pack(model)
